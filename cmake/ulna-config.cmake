# SPDX-License-Identifier: MIT
# find_package(ulna [COMPONENTS image report cuda]): ulna::ulna, and ulna::image, ulna::report, ulna::cuda where asked for.
include("${CMAKE_CURRENT_LIST_DIR}/ulna-dependencies.cmake")
if(ulna_MISSING)
  set(ulna_FOUND FALSE)
  set(ulna_NOT_FOUND_MESSAGE "ulna needs ${ulna_MISSING}.")
  return()
endif()
include("${CMAKE_CURRENT_LIST_DIR}/ulna-targets.cmake")

foreach(ulna_component IN LISTS ulna_FIND_COMPONENTS)
  ulna_find_component(${ulna_component})
  if(ulna_${ulna_component}_FOUND)
    if(NOT TARGET ulna::${ulna_component})
      add_library(ulna::${ulna_component} INTERFACE IMPORTED)
      target_link_libraries(ulna::${ulna_component} INTERFACE ulna::ulna ${ulna_${ulna_component}_LIBRARIES})
      target_compile_options(ulna::${ulna_component} INTERFACE ${ulna_${ulna_component}_OPTIONS})
    endif()
  elseif(ulna_FIND_REQUIRED_${ulna_component})
    set(ulna_FOUND FALSE)
    string(APPEND ulna_NOT_FOUND_MESSAGE
           "ulna component '${ulna_component}' needs ${ulna_${ulna_component}_NEEDS}. ")
  endif()
endforeach()

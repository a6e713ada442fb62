set(PREFIX ${TREE}/consumer)
file(REMOVE_RECURSE ${PREFIX})
foreach(command IN ITEMS
    "${CMAKE_COMMAND};--install;${TREE};--prefix;${PREFIX}/installed"
    "${CMAKE_COMMAND};-S;${SOURCE};-B;${PREFIX}/tree;-DCMAKE_PREFIX_PATH=${PREFIX}/installed"
    "${CMAKE_COMMAND};--build;${PREFIX}/tree"
    "${PREFIX}/tree/consumer")
  execute_process(COMMAND ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()

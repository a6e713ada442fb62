# The messages: gen/ if the installed protobuf is the release that made it, because generated C++ compiles only with
# that one; otherwise generated anew from protos/clients.binpb when they are built.
set(DATASTORE_PROTOS
  datastore/v1/value.proto datastore/v1/query.proto datastore/v1/service.proto
  google/rpc/status.proto google/rpc/error_details.proto)

# "3.21.12" as generated code states its release: 3021012.
string(REGEX REPLACE "^([0-9]+)\\.([0-9]+)\\.([0-9]+).*" "\\1;\\2;\\3" release "${Protobuf_VERSION}.0.0")
list(GET release 0 major)
list(GET release 1 minor)
list(GET release 2 patch)
math(EXPR installed "${major} * 1000000 + ${minor} * 1000 + ${patch}")
file(STRINGS ${PROJECT_SOURCE_DIR}/gen/datastore/v1/value.pb.h made_by REGEX "MIN_PROTOC_VERSION")
string(REGEX MATCH "[0-9]+" made_by "${made_by}")

if(installed EQUAL made_by)
  set(DATASTORE_GEN ${PROJECT_SOURCE_DIR}/gen)
else()
  message(STATUS "protobuf ${Protobuf_VERSION} is not the release that made gen/: the messages are generated anew")
  set(DATASTORE_GEN ${PROJECT_BINARY_DIR}/gen)
endif()

set(DATASTORE_GEN_SOURCES)
foreach(proto IN LISTS DATASTORE_PROTOS)
  string(REPLACE ".proto" ".pb.cc" source ${proto})
  list(APPEND DATASTORE_GEN_SOURCES ${DATASTORE_GEN}/${source})
endforeach()
list(APPEND DATASTORE_GEN_SOURCES ${DATASTORE_GEN}/datastore/v1/service.grpc.pb.cc)

if(NOT installed EQUAL made_by)
  set(descriptors ${PROJECT_SOURCE_DIR}/../../protos/clients.binpb)
  file(MAKE_DIRECTORY ${DATASTORE_GEN})
  string(REPLACE ".cc" ".h" headers "${DATASTORE_GEN_SOURCES}")
  add_custom_command(
    OUTPUT ${DATASTORE_GEN_SOURCES} ${headers}
    COMMAND protobuf::protoc --descriptor_set_in=${descriptors} --cpp_out=${DATASTORE_GEN} ${DATASTORE_PROTOS}
    COMMAND protobuf::protoc --descriptor_set_in=${descriptors} --grpc_out=${DATASTORE_GEN}
            --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> datastore/v1/service.proto
    DEPENDS ${descriptors}
    VERBATIM)
endif()

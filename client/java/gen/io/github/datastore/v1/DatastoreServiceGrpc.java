package io.github.datastore.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
 * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class DatastoreServiceGrpc {

  private DatastoreServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "datastore.v1.DatastoreService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.GetRequest,
      io.github.datastore.v1.GetResponse> getGetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Get",
      requestType = io.github.datastore.v1.GetRequest.class,
      responseType = io.github.datastore.v1.GetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.GetRequest,
      io.github.datastore.v1.GetResponse> getGetMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.GetRequest, io.github.datastore.v1.GetResponse> getGetMethod;
    if ((getGetMethod = DatastoreServiceGrpc.getGetMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getGetMethod = DatastoreServiceGrpc.getGetMethod) == null) {
          DatastoreServiceGrpc.getGetMethod = getGetMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.GetRequest, io.github.datastore.v1.GetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Get"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.GetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.GetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Get"))
              .build();
        }
      }
    }
    return getGetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.PutRequest,
      io.github.datastore.v1.PutResponse> getPutMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Put",
      requestType = io.github.datastore.v1.PutRequest.class,
      responseType = io.github.datastore.v1.PutResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.PutRequest,
      io.github.datastore.v1.PutResponse> getPutMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.PutRequest, io.github.datastore.v1.PutResponse> getPutMethod;
    if ((getPutMethod = DatastoreServiceGrpc.getPutMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getPutMethod = DatastoreServiceGrpc.getPutMethod) == null) {
          DatastoreServiceGrpc.getPutMethod = getPutMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.PutRequest, io.github.datastore.v1.PutResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Put"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PutRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PutResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Put"))
              .build();
        }
      }
    }
    return getPutMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteRequest,
      io.github.datastore.v1.DeleteResponse> getDeleteMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Delete",
      requestType = io.github.datastore.v1.DeleteRequest.class,
      responseType = io.github.datastore.v1.DeleteResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteRequest,
      io.github.datastore.v1.DeleteResponse> getDeleteMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteRequest, io.github.datastore.v1.DeleteResponse> getDeleteMethod;
    if ((getDeleteMethod = DatastoreServiceGrpc.getDeleteMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getDeleteMethod = DatastoreServiceGrpc.getDeleteMethod) == null) {
          DatastoreServiceGrpc.getDeleteMethod = getDeleteMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.DeleteRequest, io.github.datastore.v1.DeleteResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Delete"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DeleteRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DeleteResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Delete"))
              .build();
        }
      }
    }
    return getDeleteMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.PatchRequest,
      io.github.datastore.v1.PatchResponse> getPatchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Patch",
      requestType = io.github.datastore.v1.PatchRequest.class,
      responseType = io.github.datastore.v1.PatchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.PatchRequest,
      io.github.datastore.v1.PatchResponse> getPatchMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.PatchRequest, io.github.datastore.v1.PatchResponse> getPatchMethod;
    if ((getPatchMethod = DatastoreServiceGrpc.getPatchMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getPatchMethod = DatastoreServiceGrpc.getPatchMethod) == null) {
          DatastoreServiceGrpc.getPatchMethod = getPatchMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.PatchRequest, io.github.datastore.v1.PatchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Patch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PatchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PatchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Patch"))
              .build();
        }
      }
    }
    return getPatchMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.TouchRequest,
      io.github.datastore.v1.TouchResponse> getTouchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Touch",
      requestType = io.github.datastore.v1.TouchRequest.class,
      responseType = io.github.datastore.v1.TouchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.TouchRequest,
      io.github.datastore.v1.TouchResponse> getTouchMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.TouchRequest, io.github.datastore.v1.TouchResponse> getTouchMethod;
    if ((getTouchMethod = DatastoreServiceGrpc.getTouchMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getTouchMethod = DatastoreServiceGrpc.getTouchMethod) == null) {
          DatastoreServiceGrpc.getTouchMethod = getTouchMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.TouchRequest, io.github.datastore.v1.TouchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Touch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.TouchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.TouchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Touch"))
              .build();
        }
      }
    }
    return getTouchMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.ContainsRequest,
      io.github.datastore.v1.ContainsResponse> getContainsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Contains",
      requestType = io.github.datastore.v1.ContainsRequest.class,
      responseType = io.github.datastore.v1.ContainsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.ContainsRequest,
      io.github.datastore.v1.ContainsResponse> getContainsMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.ContainsRequest, io.github.datastore.v1.ContainsResponse> getContainsMethod;
    if ((getContainsMethod = DatastoreServiceGrpc.getContainsMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getContainsMethod = DatastoreServiceGrpc.getContainsMethod) == null) {
          DatastoreServiceGrpc.getContainsMethod = getContainsMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.ContainsRequest, io.github.datastore.v1.ContainsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Contains"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.ContainsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.ContainsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Contains"))
              .build();
        }
      }
    }
    return getContainsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.BatchGetRequest,
      io.github.datastore.v1.BatchGetResponse> getBatchGetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "BatchGet",
      requestType = io.github.datastore.v1.BatchGetRequest.class,
      responseType = io.github.datastore.v1.BatchGetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.BatchGetRequest,
      io.github.datastore.v1.BatchGetResponse> getBatchGetMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.BatchGetRequest, io.github.datastore.v1.BatchGetResponse> getBatchGetMethod;
    if ((getBatchGetMethod = DatastoreServiceGrpc.getBatchGetMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getBatchGetMethod = DatastoreServiceGrpc.getBatchGetMethod) == null) {
          DatastoreServiceGrpc.getBatchGetMethod = getBatchGetMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.BatchGetRequest, io.github.datastore.v1.BatchGetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "BatchGet"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.BatchGetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.BatchGetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("BatchGet"))
              .build();
        }
      }
    }
    return getBatchGetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.BatchWriteRequest,
      io.github.datastore.v1.BatchWriteResponse> getBatchWriteMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "BatchWrite",
      requestType = io.github.datastore.v1.BatchWriteRequest.class,
      responseType = io.github.datastore.v1.BatchWriteResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.BatchWriteRequest,
      io.github.datastore.v1.BatchWriteResponse> getBatchWriteMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.BatchWriteRequest, io.github.datastore.v1.BatchWriteResponse> getBatchWriteMethod;
    if ((getBatchWriteMethod = DatastoreServiceGrpc.getBatchWriteMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getBatchWriteMethod = DatastoreServiceGrpc.getBatchWriteMethod) == null) {
          DatastoreServiceGrpc.getBatchWriteMethod = getBatchWriteMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.BatchWriteRequest, io.github.datastore.v1.BatchWriteResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "BatchWrite"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.BatchWriteRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.BatchWriteResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("BatchWrite"))
              .build();
        }
      }
    }
    return getBatchWriteMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.QueryRequest,
      io.github.datastore.v1.QueryResponse> getQueryMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Query",
      requestType = io.github.datastore.v1.QueryRequest.class,
      responseType = io.github.datastore.v1.QueryResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.QueryRequest,
      io.github.datastore.v1.QueryResponse> getQueryMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.QueryRequest, io.github.datastore.v1.QueryResponse> getQueryMethod;
    if ((getQueryMethod = DatastoreServiceGrpc.getQueryMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getQueryMethod = DatastoreServiceGrpc.getQueryMethod) == null) {
          DatastoreServiceGrpc.getQueryMethod = getQueryMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.QueryRequest, io.github.datastore.v1.QueryResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Query"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.QueryRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.QueryResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Query"))
              .build();
        }
      }
    }
    return getQueryMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.ListEntriesRequest,
      io.github.datastore.v1.ListEntriesResponse> getListEntriesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListEntries",
      requestType = io.github.datastore.v1.ListEntriesRequest.class,
      responseType = io.github.datastore.v1.ListEntriesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.ListEntriesRequest,
      io.github.datastore.v1.ListEntriesResponse> getListEntriesMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.ListEntriesRequest, io.github.datastore.v1.ListEntriesResponse> getListEntriesMethod;
    if ((getListEntriesMethod = DatastoreServiceGrpc.getListEntriesMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getListEntriesMethod = DatastoreServiceGrpc.getListEntriesMethod) == null) {
          DatastoreServiceGrpc.getListEntriesMethod = getListEntriesMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.ListEntriesRequest, io.github.datastore.v1.ListEntriesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListEntries"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.ListEntriesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.ListEntriesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("ListEntries"))
              .build();
        }
      }
    }
    return getListEntriesMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.AggregateRequest,
      io.github.datastore.v1.AggregateResponse> getAggregateMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Aggregate",
      requestType = io.github.datastore.v1.AggregateRequest.class,
      responseType = io.github.datastore.v1.AggregateResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.AggregateRequest,
      io.github.datastore.v1.AggregateResponse> getAggregateMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.AggregateRequest, io.github.datastore.v1.AggregateResponse> getAggregateMethod;
    if ((getAggregateMethod = DatastoreServiceGrpc.getAggregateMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getAggregateMethod = DatastoreServiceGrpc.getAggregateMethod) == null) {
          DatastoreServiceGrpc.getAggregateMethod = getAggregateMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.AggregateRequest, io.github.datastore.v1.AggregateResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Aggregate"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.AggregateRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.AggregateResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Aggregate"))
              .build();
        }
      }
    }
    return getAggregateMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.WatchRequest,
      io.github.datastore.v1.WatchResponse> getWatchMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Watch",
      requestType = io.github.datastore.v1.WatchRequest.class,
      responseType = io.github.datastore.v1.WatchResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.WatchRequest,
      io.github.datastore.v1.WatchResponse> getWatchMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.WatchRequest, io.github.datastore.v1.WatchResponse> getWatchMethod;
    if ((getWatchMethod = DatastoreServiceGrpc.getWatchMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getWatchMethod = DatastoreServiceGrpc.getWatchMethod) == null) {
          DatastoreServiceGrpc.getWatchMethod = getWatchMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.WatchRequest, io.github.datastore.v1.WatchResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Watch"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.WatchRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.WatchResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("Watch"))
              .build();
        }
      }
    }
    return getWatchMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteMatchingRequest,
      io.github.datastore.v1.DeleteMatchingResponse> getDeleteMatchingMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteMatching",
      requestType = io.github.datastore.v1.DeleteMatchingRequest.class,
      responseType = io.github.datastore.v1.DeleteMatchingResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteMatchingRequest,
      io.github.datastore.v1.DeleteMatchingResponse> getDeleteMatchingMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.DeleteMatchingRequest, io.github.datastore.v1.DeleteMatchingResponse> getDeleteMatchingMethod;
    if ((getDeleteMatchingMethod = DatastoreServiceGrpc.getDeleteMatchingMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getDeleteMatchingMethod = DatastoreServiceGrpc.getDeleteMatchingMethod) == null) {
          DatastoreServiceGrpc.getDeleteMatchingMethod = getDeleteMatchingMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.DeleteMatchingRequest, io.github.datastore.v1.DeleteMatchingResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteMatching"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DeleteMatchingRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DeleteMatchingResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("DeleteMatching"))
              .build();
        }
      }
    }
    return getDeleteMatchingMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.PatchMatchingRequest,
      io.github.datastore.v1.PatchMatchingResponse> getPatchMatchingMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PatchMatching",
      requestType = io.github.datastore.v1.PatchMatchingRequest.class,
      responseType = io.github.datastore.v1.PatchMatchingResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.PatchMatchingRequest,
      io.github.datastore.v1.PatchMatchingResponse> getPatchMatchingMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.PatchMatchingRequest, io.github.datastore.v1.PatchMatchingResponse> getPatchMatchingMethod;
    if ((getPatchMatchingMethod = DatastoreServiceGrpc.getPatchMatchingMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getPatchMatchingMethod = DatastoreServiceGrpc.getPatchMatchingMethod) == null) {
          DatastoreServiceGrpc.getPatchMatchingMethod = getPatchMatchingMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.PatchMatchingRequest, io.github.datastore.v1.PatchMatchingResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PatchMatching"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PatchMatchingRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.PatchMatchingResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("PatchMatching"))
              .build();
        }
      }
    }
    return getPatchMatchingMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.datastore.v1.DescribeStoreRequest,
      io.github.datastore.v1.DescribeStoreResponse> getDescribeStoreMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DescribeStore",
      requestType = io.github.datastore.v1.DescribeStoreRequest.class,
      responseType = io.github.datastore.v1.DescribeStoreResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.datastore.v1.DescribeStoreRequest,
      io.github.datastore.v1.DescribeStoreResponse> getDescribeStoreMethod() {
    io.grpc.MethodDescriptor<io.github.datastore.v1.DescribeStoreRequest, io.github.datastore.v1.DescribeStoreResponse> getDescribeStoreMethod;
    if ((getDescribeStoreMethod = DatastoreServiceGrpc.getDescribeStoreMethod) == null) {
      synchronized (DatastoreServiceGrpc.class) {
        if ((getDescribeStoreMethod = DatastoreServiceGrpc.getDescribeStoreMethod) == null) {
          DatastoreServiceGrpc.getDescribeStoreMethod = getDescribeStoreMethod =
              io.grpc.MethodDescriptor.<io.github.datastore.v1.DescribeStoreRequest, io.github.datastore.v1.DescribeStoreResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DescribeStore"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DescribeStoreRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.datastore.v1.DescribeStoreResponse.getDefaultInstance()))
              .setSchemaDescriptor(new DatastoreServiceMethodDescriptorSupplier("DescribeStore"))
              .build();
        }
      }
    }
    return getDescribeStoreMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static DatastoreServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceStub>() {
        @java.lang.Override
        public DatastoreServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DatastoreServiceStub(channel, callOptions);
        }
      };
    return DatastoreServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static DatastoreServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceBlockingV2Stub>() {
        @java.lang.Override
        public DatastoreServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DatastoreServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return DatastoreServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static DatastoreServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceBlockingStub>() {
        @java.lang.Override
        public DatastoreServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DatastoreServiceBlockingStub(channel, callOptions);
        }
      };
    return DatastoreServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static DatastoreServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<DatastoreServiceFutureStub>() {
        @java.lang.Override
        public DatastoreServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new DatastoreServiceFutureStub(channel, callOptions);
        }
      };
    return DatastoreServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Get reads one entry. For an absent key, the response has no value; this is not an error.
     * </pre>
     */
    default void get(io.github.datastore.v1.GetRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.GetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetMethod(), responseObserver);
    }

    /**
     * <pre>
     * Put atomically stores one entry, replacing any previous value. It returns once the entry is as durable as
     * DescribeStore reports. Putting a null deletes the entry.
     * </pre>
     */
    default void put(io.github.datastore.v1.PutRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PutResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPutMethod(), responseObserver);
    }

    /**
     * <pre>
     * Delete removes one entry. Deleting an absent entry succeeds.
     * </pre>
     */
    default void delete(io.github.datastore.v1.DeleteRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteMethod(), responseObserver);
    }

    /**
     * <pre>
     * Patch atomically changes parts of one entry's value, which must be a map. If a change does not fit, none is made.
     * </pre>
     */
    default void patch(io.github.datastore.v1.PatchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPatchMethod(), responseObserver);
    }

    /**
     * <pre>
     * Touch atomically changes when an entry expires, and nothing else of it but its version and update time.
     * </pre>
     */
    default void touch(io.github.datastore.v1.TouchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.TouchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getTouchMethod(), responseObserver);
    }

    /**
     * <pre>
     * Contains reports whether an entry exists.
     * </pre>
     */
    default void contains(io.github.datastore.v1.ContainsRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.ContainsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getContainsMethod(), responseObserver);
    }

    /**
     * <pre>
     * BatchGet reads several entries. A failed item does not fail the others.
     * </pre>
     */
    default void batchGet(io.github.datastore.v1.BatchGetRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchGetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getBatchGetMethod(), responseObserver);
    }

    /**
     * <pre>
     * BatchWrite puts, deletes, patches and touches several entries. Each item succeeds or fails by itself, unless the
     * request is `atomic`. Writes to the same key are applied in the order of the batch.
     * </pre>
     */
    default void batchWrite(io.github.datastore.v1.BatchWriteRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchWriteResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getBatchWriteMethod(), responseObserver);
    }

    /**
     * <pre>
     * Query streams the entries that a query selects, sorted, in batches. The last message contains
     * the summary; a stream that ends without one was cut off.
     * </pre>
     */
    default void query(io.github.datastore.v1.QueryRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.QueryResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getQueryMethod(), responseObserver);
    }

    /**
     * <pre>
     * ListEntries answers the same queries page by page, for clients that cannot stream.
     * </pre>
     */
    default void listEntries(io.github.datastore.v1.ListEntriesRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.ListEntriesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListEntriesMethod(), responseObserver);
    }

    /**
     * <pre>
     * Aggregate computes counts, sums, means, minima and maxima of the entries that a query selects, by group. It streams
     * the groups in batches once all entries have been read. The last message contains the summary; a stream that ends
     * without one was cut off, and is repeated from the beginning.
     * </pre>
     */
    default void aggregate(io.github.datastore.v1.AggregateRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.AggregateResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAggregateMethod(), responseObserver);
    }

    /**
     * <pre>
     * Watch streams the changes of the entries that a query selects: from now on, from a token, or after a listing. It
     * does not end by itself; a client that is too slow gets CHANGES_EXPIRED. Refused if the store cannot be watched
     * (Feature).
     * </pre>
     */
    default void watch(io.github.datastore.v1.WatchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.WatchResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWatchMethod(), responseObserver);
    }

    /**
     * <pre>
     * DeleteMatching deletes all entries that a query selects, each on condition that it has not been written since the
     * call began. It streams its progress; the last message contains the summary. It is not atomic: what has been done
     * stays if the stream ends early, and the last token continues it. Cancelling the call stops it.
     * </pre>
     */
    default void deleteMatching(io.github.datastore.v1.DeleteMatchingRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteMatchingResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteMatchingMethod(), responseObserver);
    }

    /**
     * <pre>
     * PatchMatching patches all entries that a query selects, in the same way. No entry is patched twice, even if the
     * call is continued by a token after an answer was lost.
     * </pre>
     */
    default void patchMatching(io.github.datastore.v1.PatchMatchingRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchMatchingResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPatchMatchingMethod(), responseObserver);
    }

    /**
     * <pre>
     * DescribeStore reports what this server serves, and its limits.
     * </pre>
     */
    default void describeStore(io.github.datastore.v1.DescribeStoreRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DescribeStoreResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDescribeStoreMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service DatastoreService.
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public static abstract class DatastoreServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return DatastoreServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service DatastoreService.
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public static final class DatastoreServiceStub
      extends io.grpc.stub.AbstractAsyncStub<DatastoreServiceStub> {
    private DatastoreServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DatastoreServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DatastoreServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Get reads one entry. For an absent key, the response has no value; this is not an error.
     * </pre>
     */
    public void get(io.github.datastore.v1.GetRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.GetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Put atomically stores one entry, replacing any previous value. It returns once the entry is as durable as
     * DescribeStore reports. Putting a null deletes the entry.
     * </pre>
     */
    public void put(io.github.datastore.v1.PutRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PutResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPutMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Delete removes one entry. Deleting an absent entry succeeds.
     * </pre>
     */
    public void delete(io.github.datastore.v1.DeleteRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Patch atomically changes parts of one entry's value, which must be a map. If a change does not fit, none is made.
     * </pre>
     */
    public void patch(io.github.datastore.v1.PatchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPatchMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Touch atomically changes when an entry expires, and nothing else of it but its version and update time.
     * </pre>
     */
    public void touch(io.github.datastore.v1.TouchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.TouchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getTouchMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Contains reports whether an entry exists.
     * </pre>
     */
    public void contains(io.github.datastore.v1.ContainsRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.ContainsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getContainsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * BatchGet reads several entries. A failed item does not fail the others.
     * </pre>
     */
    public void batchGet(io.github.datastore.v1.BatchGetRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchGetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getBatchGetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * BatchWrite puts, deletes, patches and touches several entries. Each item succeeds or fails by itself, unless the
     * request is `atomic`. Writes to the same key are applied in the order of the batch.
     * </pre>
     */
    public void batchWrite(io.github.datastore.v1.BatchWriteRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchWriteResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getBatchWriteMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Query streams the entries that a query selects, sorted, in batches. The last message contains
     * the summary; a stream that ends without one was cut off.
     * </pre>
     */
    public void query(io.github.datastore.v1.QueryRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.QueryResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getQueryMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * ListEntries answers the same queries page by page, for clients that cannot stream.
     * </pre>
     */
    public void listEntries(io.github.datastore.v1.ListEntriesRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.ListEntriesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListEntriesMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Aggregate computes counts, sums, means, minima and maxima of the entries that a query selects, by group. It streams
     * the groups in batches once all entries have been read. The last message contains the summary; a stream that ends
     * without one was cut off, and is repeated from the beginning.
     * </pre>
     */
    public void aggregate(io.github.datastore.v1.AggregateRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.AggregateResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getAggregateMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Watch streams the changes of the entries that a query selects: from now on, from a token, or after a listing. It
     * does not end by itself; a client that is too slow gets CHANGES_EXPIRED. Refused if the store cannot be watched
     * (Feature).
     * </pre>
     */
    public void watch(io.github.datastore.v1.WatchRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.WatchResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWatchMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * DeleteMatching deletes all entries that a query selects, each on condition that it has not been written since the
     * call began. It streams its progress; the last message contains the summary. It is not atomic: what has been done
     * stays if the stream ends early, and the last token continues it. Cancelling the call stops it.
     * </pre>
     */
    public void deleteMatching(io.github.datastore.v1.DeleteMatchingRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteMatchingResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getDeleteMatchingMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * PatchMatching patches all entries that a query selects, in the same way. No entry is patched twice, even if the
     * call is continued by a token after an answer was lost.
     * </pre>
     */
    public void patchMatching(io.github.datastore.v1.PatchMatchingRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchMatchingResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getPatchMatchingMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * DescribeStore reports what this server serves, and its limits.
     * </pre>
     */
    public void describeStore(io.github.datastore.v1.DescribeStoreRequest request,
        io.grpc.stub.StreamObserver<io.github.datastore.v1.DescribeStoreResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDescribeStoreMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service DatastoreService.
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public static final class DatastoreServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<DatastoreServiceBlockingV2Stub> {
    private DatastoreServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DatastoreServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DatastoreServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Get reads one entry. For an absent key, the response has no value; this is not an error.
     * </pre>
     */
    public io.github.datastore.v1.GetResponse get(io.github.datastore.v1.GetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Put atomically stores one entry, replacing any previous value. It returns once the entry is as durable as
     * DescribeStore reports. Putting a null deletes the entry.
     * </pre>
     */
    public io.github.datastore.v1.PutResponse put(io.github.datastore.v1.PutRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPutMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delete removes one entry. Deleting an absent entry succeeds.
     * </pre>
     */
    public io.github.datastore.v1.DeleteResponse delete(io.github.datastore.v1.DeleteRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Patch atomically changes parts of one entry's value, which must be a map. If a change does not fit, none is made.
     * </pre>
     */
    public io.github.datastore.v1.PatchResponse patch(io.github.datastore.v1.PatchRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Touch atomically changes when an entry expires, and nothing else of it but its version and update time.
     * </pre>
     */
    public io.github.datastore.v1.TouchResponse touch(io.github.datastore.v1.TouchRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getTouchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Contains reports whether an entry exists.
     * </pre>
     */
    public io.github.datastore.v1.ContainsResponse contains(io.github.datastore.v1.ContainsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getContainsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * BatchGet reads several entries. A failed item does not fail the others.
     * </pre>
     */
    public io.github.datastore.v1.BatchGetResponse batchGet(io.github.datastore.v1.BatchGetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getBatchGetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * BatchWrite puts, deletes, patches and touches several entries. Each item succeeds or fails by itself, unless the
     * request is `atomic`. Writes to the same key are applied in the order of the batch.
     * </pre>
     */
    public io.github.datastore.v1.BatchWriteResponse batchWrite(io.github.datastore.v1.BatchWriteRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getBatchWriteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Query streams the entries that a query selects, sorted, in batches. The last message contains
     * the summary; a stream that ends without one was cut off.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.datastore.v1.QueryResponse>
        query(io.github.datastore.v1.QueryRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListEntries answers the same queries page by page, for clients that cannot stream.
     * </pre>
     */
    public io.github.datastore.v1.ListEntriesResponse listEntries(io.github.datastore.v1.ListEntriesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListEntriesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Aggregate computes counts, sums, means, minima and maxima of the entries that a query selects, by group. It streams
     * the groups in batches once all entries have been read. The last message contains the summary; a stream that ends
     * without one was cut off, and is repeated from the beginning.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.datastore.v1.AggregateResponse>
        aggregate(io.github.datastore.v1.AggregateRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getAggregateMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Watch streams the changes of the entries that a query selects: from now on, from a token, or after a listing. It
     * does not end by itself; a client that is too slow gets CHANGES_EXPIRED. Refused if the store cannot be watched
     * (Feature).
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.datastore.v1.WatchResponse>
        watch(io.github.datastore.v1.WatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DeleteMatching deletes all entries that a query selects, each on condition that it has not been written since the
     * call began. It streams its progress; the last message contains the summary. It is not atomic: what has been done
     * stays if the stream ends early, and the last token continues it. Cancelling the call stops it.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.datastore.v1.DeleteMatchingResponse>
        deleteMatching(io.github.datastore.v1.DeleteMatchingRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getDeleteMatchingMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PatchMatching patches all entries that a query selects, in the same way. No entry is patched twice, even if the
     * call is continued by a token after an answer was lost.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.datastore.v1.PatchMatchingResponse>
        patchMatching(io.github.datastore.v1.PatchMatchingRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getPatchMatchingMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DescribeStore reports what this server serves, and its limits.
     * </pre>
     */
    public io.github.datastore.v1.DescribeStoreResponse describeStore(io.github.datastore.v1.DescribeStoreRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDescribeStoreMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service DatastoreService.
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public static final class DatastoreServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<DatastoreServiceBlockingStub> {
    private DatastoreServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DatastoreServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DatastoreServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Get reads one entry. For an absent key, the response has no value; this is not an error.
     * </pre>
     */
    public io.github.datastore.v1.GetResponse get(io.github.datastore.v1.GetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Put atomically stores one entry, replacing any previous value. It returns once the entry is as durable as
     * DescribeStore reports. Putting a null deletes the entry.
     * </pre>
     */
    public io.github.datastore.v1.PutResponse put(io.github.datastore.v1.PutRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPutMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Delete removes one entry. Deleting an absent entry succeeds.
     * </pre>
     */
    public io.github.datastore.v1.DeleteResponse delete(io.github.datastore.v1.DeleteRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Patch atomically changes parts of one entry's value, which must be a map. If a change does not fit, none is made.
     * </pre>
     */
    public io.github.datastore.v1.PatchResponse patch(io.github.datastore.v1.PatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Touch atomically changes when an entry expires, and nothing else of it but its version and update time.
     * </pre>
     */
    public io.github.datastore.v1.TouchResponse touch(io.github.datastore.v1.TouchRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getTouchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Contains reports whether an entry exists.
     * </pre>
     */
    public io.github.datastore.v1.ContainsResponse contains(io.github.datastore.v1.ContainsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getContainsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * BatchGet reads several entries. A failed item does not fail the others.
     * </pre>
     */
    public io.github.datastore.v1.BatchGetResponse batchGet(io.github.datastore.v1.BatchGetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getBatchGetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * BatchWrite puts, deletes, patches and touches several entries. Each item succeeds or fails by itself, unless the
     * request is `atomic`. Writes to the same key are applied in the order of the batch.
     * </pre>
     */
    public io.github.datastore.v1.BatchWriteResponse batchWrite(io.github.datastore.v1.BatchWriteRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getBatchWriteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Query streams the entries that a query selects, sorted, in batches. The last message contains
     * the summary; a stream that ends without one was cut off.
     * </pre>
     */
    public java.util.Iterator<io.github.datastore.v1.QueryResponse> query(
        io.github.datastore.v1.QueryRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getQueryMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * ListEntries answers the same queries page by page, for clients that cannot stream.
     * </pre>
     */
    public io.github.datastore.v1.ListEntriesResponse listEntries(io.github.datastore.v1.ListEntriesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListEntriesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Aggregate computes counts, sums, means, minima and maxima of the entries that a query selects, by group. It streams
     * the groups in batches once all entries have been read. The last message contains the summary; a stream that ends
     * without one was cut off, and is repeated from the beginning.
     * </pre>
     */
    public java.util.Iterator<io.github.datastore.v1.AggregateResponse> aggregate(
        io.github.datastore.v1.AggregateRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getAggregateMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Watch streams the changes of the entries that a query selects: from now on, from a token, or after a listing. It
     * does not end by itself; a client that is too slow gets CHANGES_EXPIRED. Refused if the store cannot be watched
     * (Feature).
     * </pre>
     */
    public java.util.Iterator<io.github.datastore.v1.WatchResponse> watch(
        io.github.datastore.v1.WatchRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWatchMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DeleteMatching deletes all entries that a query selects, each on condition that it has not been written since the
     * call began. It streams its progress; the last message contains the summary. It is not atomic: what has been done
     * stays if the stream ends early, and the last token continues it. Cancelling the call stops it.
     * </pre>
     */
    public java.util.Iterator<io.github.datastore.v1.DeleteMatchingResponse> deleteMatching(
        io.github.datastore.v1.DeleteMatchingRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getDeleteMatchingMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * PatchMatching patches all entries that a query selects, in the same way. No entry is patched twice, even if the
     * call is continued by a token after an answer was lost.
     * </pre>
     */
    public java.util.Iterator<io.github.datastore.v1.PatchMatchingResponse> patchMatching(
        io.github.datastore.v1.PatchMatchingRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getPatchMatchingMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * DescribeStore reports what this server serves, and its limits.
     * </pre>
     */
    public io.github.datastore.v1.DescribeStoreResponse describeStore(io.github.datastore.v1.DescribeStoreRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDescribeStoreMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service DatastoreService.
   * <pre>
   * DatastoreService reads, writes and queries entries. Storage nodes and sharding proxies both serve it.
   * Errors are google.rpc.Status with an ErrorInfo with the domain "datastore"; docs/protocol.md lists them.
   * </pre>
   */
  public static final class DatastoreServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<DatastoreServiceFutureStub> {
    private DatastoreServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected DatastoreServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new DatastoreServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Get reads one entry. For an absent key, the response has no value; this is not an error.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.GetResponse> get(
        io.github.datastore.v1.GetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Put atomically stores one entry, replacing any previous value. It returns once the entry is as durable as
     * DescribeStore reports. Putting a null deletes the entry.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.PutResponse> put(
        io.github.datastore.v1.PutRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPutMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Delete removes one entry. Deleting an absent entry succeeds.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.DeleteResponse> delete(
        io.github.datastore.v1.DeleteRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Patch atomically changes parts of one entry's value, which must be a map. If a change does not fit, none is made.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.PatchResponse> patch(
        io.github.datastore.v1.PatchRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPatchMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Touch atomically changes when an entry expires, and nothing else of it but its version and update time.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.TouchResponse> touch(
        io.github.datastore.v1.TouchRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getTouchMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Contains reports whether an entry exists.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.ContainsResponse> contains(
        io.github.datastore.v1.ContainsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getContainsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * BatchGet reads several entries. A failed item does not fail the others.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.BatchGetResponse> batchGet(
        io.github.datastore.v1.BatchGetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getBatchGetMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * BatchWrite puts, deletes, patches and touches several entries. Each item succeeds or fails by itself, unless the
     * request is `atomic`. Writes to the same key are applied in the order of the batch.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.BatchWriteResponse> batchWrite(
        io.github.datastore.v1.BatchWriteRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getBatchWriteMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * ListEntries answers the same queries page by page, for clients that cannot stream.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.ListEntriesResponse> listEntries(
        io.github.datastore.v1.ListEntriesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListEntriesMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * DescribeStore reports what this server serves, and its limits.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.datastore.v1.DescribeStoreResponse> describeStore(
        io.github.datastore.v1.DescribeStoreRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDescribeStoreMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_GET = 0;
  private static final int METHODID_PUT = 1;
  private static final int METHODID_DELETE = 2;
  private static final int METHODID_PATCH = 3;
  private static final int METHODID_TOUCH = 4;
  private static final int METHODID_CONTAINS = 5;
  private static final int METHODID_BATCH_GET = 6;
  private static final int METHODID_BATCH_WRITE = 7;
  private static final int METHODID_QUERY = 8;
  private static final int METHODID_LIST_ENTRIES = 9;
  private static final int METHODID_AGGREGATE = 10;
  private static final int METHODID_WATCH = 11;
  private static final int METHODID_DELETE_MATCHING = 12;
  private static final int METHODID_PATCH_MATCHING = 13;
  private static final int METHODID_DESCRIBE_STORE = 14;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_GET:
          serviceImpl.get((io.github.datastore.v1.GetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.GetResponse>) responseObserver);
          break;
        case METHODID_PUT:
          serviceImpl.put((io.github.datastore.v1.PutRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.PutResponse>) responseObserver);
          break;
        case METHODID_DELETE:
          serviceImpl.delete((io.github.datastore.v1.DeleteRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteResponse>) responseObserver);
          break;
        case METHODID_PATCH:
          serviceImpl.patch((io.github.datastore.v1.PatchRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchResponse>) responseObserver);
          break;
        case METHODID_TOUCH:
          serviceImpl.touch((io.github.datastore.v1.TouchRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.TouchResponse>) responseObserver);
          break;
        case METHODID_CONTAINS:
          serviceImpl.contains((io.github.datastore.v1.ContainsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.ContainsResponse>) responseObserver);
          break;
        case METHODID_BATCH_GET:
          serviceImpl.batchGet((io.github.datastore.v1.BatchGetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchGetResponse>) responseObserver);
          break;
        case METHODID_BATCH_WRITE:
          serviceImpl.batchWrite((io.github.datastore.v1.BatchWriteRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.BatchWriteResponse>) responseObserver);
          break;
        case METHODID_QUERY:
          serviceImpl.query((io.github.datastore.v1.QueryRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.QueryResponse>) responseObserver);
          break;
        case METHODID_LIST_ENTRIES:
          serviceImpl.listEntries((io.github.datastore.v1.ListEntriesRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.ListEntriesResponse>) responseObserver);
          break;
        case METHODID_AGGREGATE:
          serviceImpl.aggregate((io.github.datastore.v1.AggregateRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.AggregateResponse>) responseObserver);
          break;
        case METHODID_WATCH:
          serviceImpl.watch((io.github.datastore.v1.WatchRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.WatchResponse>) responseObserver);
          break;
        case METHODID_DELETE_MATCHING:
          serviceImpl.deleteMatching((io.github.datastore.v1.DeleteMatchingRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.DeleteMatchingResponse>) responseObserver);
          break;
        case METHODID_PATCH_MATCHING:
          serviceImpl.patchMatching((io.github.datastore.v1.PatchMatchingRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.PatchMatchingResponse>) responseObserver);
          break;
        case METHODID_DESCRIBE_STORE:
          serviceImpl.describeStore((io.github.datastore.v1.DescribeStoreRequest) request,
              (io.grpc.stub.StreamObserver<io.github.datastore.v1.DescribeStoreResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getGetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.GetRequest,
              io.github.datastore.v1.GetResponse>(
                service, METHODID_GET)))
        .addMethod(
          getPutMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.PutRequest,
              io.github.datastore.v1.PutResponse>(
                service, METHODID_PUT)))
        .addMethod(
          getDeleteMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.DeleteRequest,
              io.github.datastore.v1.DeleteResponse>(
                service, METHODID_DELETE)))
        .addMethod(
          getPatchMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.PatchRequest,
              io.github.datastore.v1.PatchResponse>(
                service, METHODID_PATCH)))
        .addMethod(
          getTouchMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.TouchRequest,
              io.github.datastore.v1.TouchResponse>(
                service, METHODID_TOUCH)))
        .addMethod(
          getContainsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.ContainsRequest,
              io.github.datastore.v1.ContainsResponse>(
                service, METHODID_CONTAINS)))
        .addMethod(
          getBatchGetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.BatchGetRequest,
              io.github.datastore.v1.BatchGetResponse>(
                service, METHODID_BATCH_GET)))
        .addMethod(
          getBatchWriteMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.BatchWriteRequest,
              io.github.datastore.v1.BatchWriteResponse>(
                service, METHODID_BATCH_WRITE)))
        .addMethod(
          getQueryMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.datastore.v1.QueryRequest,
              io.github.datastore.v1.QueryResponse>(
                service, METHODID_QUERY)))
        .addMethod(
          getListEntriesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.ListEntriesRequest,
              io.github.datastore.v1.ListEntriesResponse>(
                service, METHODID_LIST_ENTRIES)))
        .addMethod(
          getAggregateMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.datastore.v1.AggregateRequest,
              io.github.datastore.v1.AggregateResponse>(
                service, METHODID_AGGREGATE)))
        .addMethod(
          getWatchMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.datastore.v1.WatchRequest,
              io.github.datastore.v1.WatchResponse>(
                service, METHODID_WATCH)))
        .addMethod(
          getDeleteMatchingMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.datastore.v1.DeleteMatchingRequest,
              io.github.datastore.v1.DeleteMatchingResponse>(
                service, METHODID_DELETE_MATCHING)))
        .addMethod(
          getPatchMatchingMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.datastore.v1.PatchMatchingRequest,
              io.github.datastore.v1.PatchMatchingResponse>(
                service, METHODID_PATCH_MATCHING)))
        .addMethod(
          getDescribeStoreMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.datastore.v1.DescribeStoreRequest,
              io.github.datastore.v1.DescribeStoreResponse>(
                service, METHODID_DESCRIBE_STORE)))
        .build();
  }

  private static abstract class DatastoreServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    DatastoreServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.datastore.v1.Service.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("DatastoreService");
    }
  }

  private static final class DatastoreServiceFileDescriptorSupplier
      extends DatastoreServiceBaseDescriptorSupplier {
    DatastoreServiceFileDescriptorSupplier() {}
  }

  private static final class DatastoreServiceMethodDescriptorSupplier
      extends DatastoreServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    DatastoreServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (DatastoreServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new DatastoreServiceFileDescriptorSupplier())
              .addMethod(getGetMethod())
              .addMethod(getPutMethod())
              .addMethod(getDeleteMethod())
              .addMethod(getPatchMethod())
              .addMethod(getTouchMethod())
              .addMethod(getContainsMethod())
              .addMethod(getBatchGetMethod())
              .addMethod(getBatchWriteMethod())
              .addMethod(getQueryMethod())
              .addMethod(getListEntriesMethod())
              .addMethod(getAggregateMethod())
              .addMethod(getWatchMethod())
              .addMethod(getDeleteMatchingMethod())
              .addMethod(getPatchMatchingMethod())
              .addMethod(getDescribeStoreMethod())
              .build();
        }
      }
    }
    return result;
  }
}

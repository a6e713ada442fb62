// A server whose answers a test writes, on a real socket.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>

#include "datastore/v1/service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"

namespace datastore {

namespace pb = datastore::v1;

// A status with an ErrorInfo, as our servers send it; with a RetryInfo if `retry_ms` is not negative.
inline grpc::Status failure(grpc::StatusCode code, const std::string& reason, int retry_ms = -1) {
  google::rpc::Status status;
  status.set_code(code);
  status.set_message("as the test says");
  google::rpc::ErrorInfo info;
  info.set_domain("datastore");
  info.set_reason(reason);
  status.add_details()->PackFrom(info);
  if (retry_ms >= 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(retry_ms * 1'000'000);
    status.add_details()->PackFrom(retry);
  }
  return {code, status.message(), status.SerializeAsString()};
}

// What gRPC itself says when a connection breaks in the middle of a call.
inline grpc::Status cut() { return {grpc::StatusCode::UNAVAILABLE, "Socket closed"}; }

class ScriptedServer final : public pb::DatastoreService::Service {
 public:
  using Context = grpc::ServerContext*;
  template <typename Request, typename Response>
  using Unary = std::function<grpc::Status(Context, const Request&, Response&)>;
  template <typename Request, typename Response>
  using Stream = std::function<grpc::Status(Context, const Request&, grpc::ServerWriter<Response>&)>;

  Unary<pb::GetRequest, pb::GetResponse> get;
  Unary<pb::PutRequest, pb::PutResponse> put;
  Unary<pb::BatchGetRequest, pb::BatchGetResponse> batch_get;
  Unary<pb::BatchWriteRequest, pb::BatchWriteResponse> batch_write;
  Stream<pb::QueryRequest, pb::QueryResponse> query;
  Stream<pb::WatchRequest, pb::WatchResponse> watch;

  // Listens on a free port. Everything must be scripted before.
  const std::string& start() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
    return address_;
  }
  ~ScriptedServer() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
  }

  grpc::Status Get(Context context, const pb::GetRequest* request, pb::GetResponse* response) override {
    return unary(get, context, *request, *response);
  }
  grpc::Status Put(Context context, const pb::PutRequest* request, pb::PutResponse* response) override {
    return unary(put, context, *request, *response);
  }
  grpc::Status BatchGet(Context context, const pb::BatchGetRequest* request, pb::BatchGetResponse* response) override {
    return unary(batch_get, context, *request, *response);
  }
  grpc::Status BatchWrite(Context context, const pb::BatchWriteRequest* request,
                          pb::BatchWriteResponse* response) override {
    return unary(batch_write, context, *request, *response);
  }
  grpc::Status Query(Context context, const pb::QueryRequest* request,
                     grpc::ServerWriter<pb::QueryResponse>* writer) override {
    return unary(query, context, *request, *writer);
  }
  grpc::Status Watch(Context context, const pb::WatchRequest* request,
                     grpc::ServerWriter<pb::WatchResponse>* writer) override {
    return unary(watch, context, *request, *writer);
  }

 private:
  template <typename Function, typename Request, typename Response>
  static grpc::Status unary(const Function& function, Context context, const Request& request, Response& response) {
    if (function) return function(context, request, response);
    return {grpc::StatusCode::UNIMPLEMENTED, "not scripted"};
  }

  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace datastore

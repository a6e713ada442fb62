// The same reads through the client and through the bare generated stub.
#include <datastore/v1/service.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "operations.h"

namespace driver {

namespace {

namespace pb = datastore::v1;
using Seconds = std::chrono::duration<double>;

template <typename Function>
double timed(const Function& function) {
  const auto begun = std::chrono::steady_clock::now();
  function();
  return Seconds(std::chrono::steady_clock::now() - begun).count();
}

std::unique_ptr<pb::DatastoreService::Stub> stub_of(const Json& request) {
  return pb::DatastoreService::NewStub(grpc::CreateChannel(request.at("address"), grpc::InsecureChannelCredentials()));
}

void check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error_message());
}

std::int64_t query_by_client(const Json& request) {
  datastore::Client client(request.at("address").get<std::string>());
  std::int64_t entries = 0;
  for (const datastore::Entry& entry :
       client.query(datastore::Query(request.at("key").get<std::string>()).recursive())) {
    entries += entry.key.text().empty() ? 0 : 1;
  }
  return entries;
}

std::int64_t query_by_stub(const Json& request) {
  const auto stub = stub_of(request);
  pb::QueryRequest message;
  message.mutable_query()->mutable_key()->set_text(request.at("key"));
  message.mutable_query()->set_scope(pb::QUERY_SCOPE_RECURSIVE);
  grpc::ClientContext context;
  const auto reader = stub->Query(&context, message);
  pb::QueryResponse response;
  std::int64_t entries = 0;
  while (reader->Read(&response)) entries += response.entries_size();
  check(reader->Finish());
  return entries;
}

Json bench_query(const Json& request) {
  const bool by_client = request.at("through") == "client";
  std::int64_t entries = 0;
  const double seconds = timed([&] { entries = by_client ? query_by_client(request) : query_by_stub(request); });
  return {{"entries", entries}, {"seconds", seconds}};
}

// Calls a function so many times, by so many threads at once.
double in_flight(const Json& request, const std::function<void()>& call) {
  std::atomic<std::int64_t> left = request.at("calls").get<std::int64_t>();
  call();  // connects
  return timed([&] {
    std::vector<std::thread> threads(request.at("in_flight").get<std::size_t>());
    for (std::thread& thread : threads) {
      thread = std::thread([&] {
        while (left.fetch_sub(1) > 0) call();
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
}

Json bench_get(const Json& request) {
  const std::string key = request.at("key");
  if (request.at("through") == "client") {
    datastore::Client client(request.at("address").get<std::string>());
    return {{"seconds", in_flight(request, [&] { client.get(key); })}};
  }
  const auto stub = stub_of(request);
  return {{"seconds", in_flight(request, [&] {
             pb::GetRequest message;
             message.mutable_key()->set_text(key);
             pb::GetResponse response;
             grpc::ClientContext context;
             context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
             check(stub->Get(&context, message, &response));
           })}};
}

Json memory(const Json&) {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0;
  std::int64_t resident = 0;
  file >> all >> resident;
  return {{"rss_bytes", resident * sysconf(_SC_PAGESIZE)}};
}

}  // namespace

void add_bench(Operations& operations) {
  operations["bench_query"] = bench_query;
  operations["bench_get"] = bench_get;
  operations["memory"] = memory;
}

}  // namespace driver

// The client against scripted servers: retries, streams, batches, addresses, threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <ranges>
#include <thread>

#include "datastore/datastore.h"
#include "scripted_server.h"

namespace datastore {
namespace {

using namespace std::chrono_literals;

static_assert(std::ranges::input_range<QueryStream>);
static_assert(std::ranges::input_range<WatchStream>);
static_assert(std::movable<Client> && !std::copyable<Client>);

template <typename Function>
Error error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  return {Reason::datastore, "nothing was thrown"};
}

// A message with these entries, and how many so far as its token.
pb::QueryResponse entries(int first, int count) {
  pb::QueryResponse response;
  for (int i = first; i < first + count; ++i) {
    pb::Entry& entry = *response.add_entries();
    entry.mutable_key()->set_text("/a/" + std::to_string(i));
    entry.mutable_value()->set_int64_value(i);
  }
  response.set_resume_token(std::to_string(first + count));
  return response;
}

pb::QueryResponse last(int count, int sent_in_call) {
  pb::QueryResponse response;
  response.set_resume_token(std::to_string(count));
  response.mutable_summary()->set_reason(pb::QuerySummary::REASON_EXHAUSTED);
  response.mutable_summary()->set_entries(sent_in_call);
  return response;
}

std::vector<std::string> keys_of(QueryStream& stream) {
  std::vector<std::string> keys;
  for (const Entry& entry : stream) keys.push_back(entry.key.text());
  return keys;
}

TEST(Calls, ThatAServerRefusedBecauseItIsBusyAreRepeated) {
  ScriptedServer server;
  std::atomic<int> calls = 0;
  server.put = [&](auto, auto&, pb::PutResponse& response) {
    if (++calls < 3) return failure(grpc::StatusCode::RESOURCE_EXHAUSTED, "OVERLOADED", 1);
    response.mutable_metadata()->set_version(7);
    return grpc::Status::OK;
  };
  Client client(server.start());
  EXPECT_EQ(client.put("/a", 1)->version, 7);
  EXPECT_EQ(calls, 3);
}

TEST(Calls, AreNotRepeatedWithoutRetry) {
  ScriptedServer server;
  std::atomic<int> calls = 0;
  server.get = [&](auto, auto&, auto&) {
    ++calls;
    return failure(grpc::StatusCode::UNAVAILABLE, "UNAVAILABLE", 5);
  };
  Client client(server.start(), {.retry = false});
  EXPECT_EQ(error_of([&] { client.get("/a"); }).retry_after(), 5ms);
  EXPECT_EQ(calls, 1);
}

TEST(Calls, ThatWereCutOffAreRepeatedIfTheyRead) {
  ScriptedServer server;
  std::atomic<int> reads = 0;
  std::atomic<int> writes = 0;
  server.get = [&](auto, auto&, auto&) { return ++reads == 1 ? cut() : grpc::Status::OK; };
  server.put = [&](auto, auto&, auto&) {
    ++writes;
    return cut();
  };
  Client client(server.start());
  EXPECT_FALSE(client.get("/a").has_value());
  EXPECT_EQ(reads, 2);
  EXPECT_TRUE(error_of([&] { client.put("/a", 1); }).may_have_been_made());
  EXPECT_EQ(writes, 1);
}

TEST(Calls, ThatWriteAreRepeatedAsTheSameRequestIfAskedFor) {
  ScriptedServer server;
  std::vector<pb::Attempt> attempts;
  server.put = [&](auto, const pb::PutRequest& request, auto&) {
    attempts.push_back(request.attempt());
    return attempts.size() == 1 ? cut() : grpc::Status::OK;
  };
  Client client(server.start(), {.retry_writes = true});
  client.put("/a", 1);
  ASSERT_EQ(attempts.size(), 2U);
  EXPECT_EQ(attempts[0].request_id().size(), 16U);
  EXPECT_EQ(attempts[0].request_id(), attempts[1].request_id());
  EXPECT_EQ(attempts[0].age_us(), 0);
  EXPECT_GT(attempts[1].age_us(), 0);
}

TEST(Calls, GoToTheNextAddressIfOneCannotBeReached) {
  ScriptedServer server;
  server.get = [](auto, auto&, auto&) { return grpc::Status::OK; };
  server.query = [](auto, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
    writer.Write(last(0, 0));
    return grpc::Status::OK;
  };
  const std::string& address = server.start();
  // Nobody listens on port 1.
  Client client(std::vector<std::string>{"127.0.0.1:1", address});
  EXPECT_FALSE(client.get("/a").has_value());
  Client streaming(std::vector<std::string>{"127.0.0.1:1", address});
  QueryStream stream = streaming.query(Query("/a"));
  EXPECT_TRUE(keys_of(stream).empty());
  Client lost(std::vector<std::string>{"127.0.0.1:1", "localhost:1"});
  const Error error = error_of([&] { lost.get("/a"); });
  EXPECT_EQ(error.reason(), Reason::unavailable);
  EXPECT_FALSE(error.may_have_been_made());
  EXPECT_NE(std::string(error.what()).find("nothing answers at 127.0.0.1:1, localhost:1"), std::string::npos);
}

TEST(Calls, NameAServerThatSpeaksAnotherVersion) {
  ScriptedServer server;
  Client client(server.start());
  EXPECT_NE(std::string(error_of([&] { client.describe(); }).what()).find("another version"), std::string::npos);
}

TEST(Calls, EndAtTheirDeadline) {
  ScriptedServer server;
  server.get = [](grpc::ServerContext* context, auto&, auto&) {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start(), {.timeout = 50ms});
  EXPECT_THROW(client.get("/a"), DeadlineExceededError);
}

TEST(Calls, AreAtMostAHundredAtOnceAndRefusedOnceClosed) {
  ScriptedServer server;
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  server.get = [&](auto, auto&, auto&) {
    const int running = ++now;
    for (int seen = most; seen < running && !most.compare_exchange_weak(seen, running);) {
    }
    std::this_thread::yield();
    --now;
    return grpc::Status::OK;
  };
  Client client(server.start());
  std::vector<std::future<void>> calls;
  for (int i = 0; i < 150; ++i) {
    calls.push_back(std::async(std::launch::async, [&] {
      for (int call = 0; call < 3; ++call) client.get("/a");
    }));
  }
  for (auto& call : calls) call.get();
  EXPECT_LE(most, 100);
  client.close();
  EXPECT_EQ(error_of([&] { client.get("/a"); }).reason(), Reason::datastore_closed);
}

TEST(Updates, AreMadeAgainOfTheNewerValue) {
  ScriptedServer server;
  std::int64_t version = 1;
  std::vector<std::int64_t> conditions;
  server.get = [&](auto, auto&, pb::GetResponse& response) {
    response.mutable_value()->set_int64_value(10 * version);
    response.mutable_metadata()->set_version(version++);
    return grpc::Status::OK;
  };
  server.put = [&](auto, const pb::PutRequest& request, auto&) {
    conditions.push_back(request.condition().version());
    return conditions.size() == 1 ? failure(grpc::StatusCode::ABORTED, "CONDITION_FAILED") : grpc::Status::OK;
  };
  Client client(server.start());
  const Entry entry = client.update("/a", [](std::optional<Value> value) { return value->as<std::int64_t>() + 1; });
  EXPECT_EQ(entry.value, 21);
  EXPECT_EQ(conditions, (std::vector<std::int64_t>{1, 2}));
}

TEST(Batches, AreCutIntoPartsAndItemsAreRepeated) {
  ScriptedServer server;
  std::vector<int> sizes;
  server.batch_write = [&](auto, const pb::BatchWriteRequest& request, pb::BatchWriteResponse& response) {
    sizes.push_back(request.writes_size());
    for (int i = 0; i < request.writes_size(); ++i) response.add_results();
    if (sizes.size() > 1) return grpc::Status::OK;
    google::rpc::Status status;
    status.ParseFromString(failure(grpc::StatusCode::UNAVAILABLE, "UNAVAILABLE", 1).error_details());
    *response.mutable_results(3)->mutable_status() = status;
    return grpc::Status::OK;
  };
  Client client(server.start());
  std::vector<Write> writes;
  for (int i = 0; i < 1500; ++i) writes.push_back(Write::put("/a/" + std::to_string(i), i));
  writes.push_back(Write::put("/a/bad", "\xFF"));
  const std::vector<WriteResult> results = client.batch_write(writes);
  EXPECT_EQ(sizes, (std::vector<int>{1000, 1, 500}));
  EXPECT_EQ(std::count_if(results.begin(), results.end(), [](const auto& r) { return r.error.has_value(); }), 1);
  EXPECT_EQ(results.back().error->reason(), Reason::invalid_value);
}

TEST(Batches, AreNotSentOnAfterAPartWhoseOutcomeIsUnknown) {
  ScriptedServer server;
  int calls = 0;
  server.batch_write = [&](auto, auto&, auto&) {
    ++calls;
    return cut();
  };
  Client client(server.start());
  const std::vector<WriteResult> results = client.batch_write(std::vector<Write>(2500, Write::put("/a", 1)));
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(std::all_of(results.begin(), results.end(), [](const auto& r) { return r.error.has_value(); }));
}

TEST(Batches, OfKeysAreAskedForAgainIfTheirValuesDidNotFit) {
  ScriptedServer server;
  server.batch_get = [](auto, const pb::BatchGetRequest& request, pb::BatchGetResponse& response) {
    google::rpc::Status status;
    google::rpc::ErrorInfo info;
    info.set_domain("datastore");
    info.set_reason("LIMIT_EXCEEDED");
    (*info.mutable_metadata())["limit"] = "message_bytes";
    status.set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
    status.add_details()->PackFrom(info);
    for (int i = 0; i < request.keys_size(); ++i) {
      auto& result = *response.add_results();
      if (i < 2) {
        result.mutable_value()->set_string_value(request.keys(i).text());
      } else {
        *result.mutable_status() = status;
      }
    }
    return grpc::Status::OK;
  };
  Client client(server.start());
  std::vector<Key> keys;
  for (int i = 0; i < 7; ++i) keys.emplace_back("/a/" + std::to_string(i));
  const std::vector<ReadResult> results = client.batch_get(keys);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(results[i].value, Value(keys[i].text()));
}

TEST(Streams, ThatAreCutOffContinueWhereTheyWere) {
  ScriptedServer server;
  std::vector<std::string> tokens;
  server.query = [&](auto, const pb::QueryRequest& request, grpc::ServerWriter<pb::QueryResponse>& writer) {
    tokens.push_back(request.resume_token());
    const int first = request.resume_token().empty() ? 0 : std::stoi(request.resume_token());
    writer.Write(entries(first, 2));
    if (first < 4) return cut();
    writer.Write(last(6, 2));
    return grpc::Status::OK;
  };
  Client client(server.start());
  QueryStream stream = client.query(Query("/a"));
  EXPECT_EQ(keys_of(stream), (std::vector<std::string>{"/a/0", "/a/1", "/a/2", "/a/3", "/a/4", "/a/5"}));
  EXPECT_EQ(tokens, (std::vector<std::string>{"", "2", "4"}));
  EXPECT_EQ(stream.summary().entries, 6);
}

TEST(Streams, SendTheirLastEntryBackWholeIfTheTokenNeedsIt) {
  ScriptedServer server;
  std::vector<pb::Entry> sent_back;
  server.query = [&](auto, const pb::QueryRequest& request, grpc::ServerWriter<pb::QueryResponse>& writer) {
    sent_back.push_back(request.last_entry());
    if (sent_back.size() == 2) {
      writer.Write(last(1, 0));
      return grpc::Status::OK;
    }
    pb::QueryResponse response = entries(0, 1);
    (*response.mutable_entries(0)->mutable_value()->mutable_map_value()->mutable_fields())["b"].set_bool_value(true);
    response.set_needs_last_entry(true);
    writer.Write(response);
    return cut();
  };
  Client client(server.start());
  const std::optional<Entry> entry = [&] {
    QueryStream stream = client.query(Query("/a").fields({"c"}));
    auto first = stream.next();
    EXPECT_FALSE(stream.next().has_value());
    return first;
  }();
  EXPECT_EQ(entry->value, Value(Map{}));
  EXPECT_TRUE(sent_back[1].value().map_value().fields().at("b").bool_value());
}

TEST(Streams, ThatEndWithoutTheirSummaryOrWithAnotherCountAreTruncated) {
  for (const int count : {-1, 3}) {
    ScriptedServer server;
    server.query = [&](auto, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
      writer.Write(entries(0, 2));
      if (count >= 0) writer.Write(last(2, count));
      return grpc::Status::OK;
    };
    Client client(server.start());
    QueryStream stream = client.query(Query("/a"));
    EXPECT_THROW(keys_of(stream), TruncatedStreamError);
    EXPECT_EQ(error_of([&] { static_cast<void>(stream.summary()); }).reason(), Reason::cursor_running);
  }
}

TEST(Streams, ThatTimeOutTwiceWithoutProgressFail) {
  ScriptedServer server;
  std::atomic<int> calls = 0;
  server.query = [&](auto, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
    if (++calls == 1) writer.Write(entries(0, 1));
    return failure(grpc::StatusCode::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
  };
  Client client(server.start());
  QueryStream stream = client.query(Query("/a"));
  EXPECT_THROW(keys_of(stream), DeadlineExceededError);
  EXPECT_EQ(calls, 2);
}

TEST(Streams, EndTheirCallWhenTheLoopIsLeft) {
  ScriptedServer server;
  std::promise<void> cancelled;
  server.query = [&](grpc::ServerContext* context, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
    writer.Write(entries(0, 2));
    while (!context->IsCancelled()) std::this_thread::yield();
    cancelled.set_value();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start());
  for (const Entry& entry : client.query(Query("/a"))) {
    EXPECT_EQ(entry.key.text(), "/a/0");
    break;
  }
  cancelled.get_future().get();
}

TEST(Streams, AreCancelledFromAnotherThread) {
  ScriptedServer server;
  server.query = [&](grpc::ServerContext* context, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
    writer.Write(entries(0, 1));
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start());
  QueryStream stream = client.query(Query("/a"));
  EXPECT_TRUE(stream.next().has_value());
  std::thread canceller([&] { stream.cancel(); });
  EXPECT_FALSE(stream.next().has_value());
  canceller.join();
}

pb::WatchResponse change(int version, const std::string& token) {
  pb::WatchResponse response;
  response.set_resume_token(token);
  if (version == 0) return response;
  pb::EntryChange& change = *response.add_changes();
  change.set_kind(pb::EntryChange::KIND_PUT);
  change.mutable_key()->set_text("/a");
  change.set_version(version);
  change.mutable_value()->set_int64_value(version);
  return response;
}

TEST(Calls, ThatAreInProgressEndWhenTheClientIsClosed) {
  ScriptedServer server;
  std::promise<void> got, queried;
  server.get = [&](grpc::ServerContext* context, auto&, auto&) {
    got.set_value();
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  server.query = [&](grpc::ServerContext* context, auto&, grpc::ServerWriter<pb::QueryResponse>& writer) {
    writer.Write(entries(0, 1));
    queried.set_value();
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start());
  QueryStream stream = client.query(Query("/a"));
  EXPECT_TRUE(stream.next().has_value());
  std::thread closer([&] {
    got.get_future().get();
    queried.get_future().get();
    client.close();
  });
  EXPECT_EQ(error_of([&] { client.get("/a"); }).reason(), Reason::datastore_closed);
  EXPECT_EQ(error_of([&] { stream.next(); }).reason(), Reason::datastore_closed);
  closer.join();
}

TEST(Watches, GiveTheChangesOfABatchTogetherAndContinueByTheirToken) {
  ScriptedServer server;
  std::vector<std::string> tokens;
  server.watch = [&](grpc::ServerContext* context, const pb::WatchRequest& request,
                     grpc::ServerWriter<pb::WatchResponse>& writer) {
    tokens.push_back(request.resume_token());
    writer.Write(change(0, request.resume_token().empty() ? "begun" : request.resume_token()));
    if (tokens.size() == 1) {
      writer.Write(change(1, "one"));
      writer.Write(change(2, ""));  // the rest of its batch is lost
      return cut();
    }
    writer.Write(change(2, ""));
    writer.Write(change(3, "three"));
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start());
  WatchStream watch = client.watch(Query("/a"));
  EXPECT_EQ(watch.token(), "begun");
  EXPECT_EQ(watch.next()->changes.size(), 1U);
  const std::optional<ChangeBatch> batch = watch.next();
  EXPECT_EQ(batch->changes.size(), 2U);
  EXPECT_EQ(batch->changes.back().value, 3);
  EXPECT_EQ(batch->token, "three");
  EXPECT_EQ(tokens, (std::vector<std::string>{"", "one"}));
  std::thread canceller([&] { watch.cancel(); });
  EXPECT_FALSE(watch.next().has_value());
  canceller.join();
}

TEST(Watches, ThatHaveFallenBehindSaySo) {
  ScriptedServer server;
  server.watch = [](auto, auto&, grpc::ServerWriter<pb::WatchResponse>& writer) {
    writer.Write(change(0, "begun"));
    return failure(grpc::StatusCode::OUT_OF_RANGE, "CHANGES_EXPIRED");
  };
  Client client(server.start());
  WatchStream watch = client.watch(Query("/a"));
  EXPECT_THROW(watch.next(), ChangesExpiredError);
}

}  // namespace
TEST(Watches, KeepWhatComesWithTheirFirstMessage) {
  ScriptedServer server;
  server.watch = [&](grpc::ServerContext* context, auto&, grpc::ServerWriter<pb::WatchResponse>& writer) {
    writer.Write(change(1, "t1"));
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Client client(server.start());
  WatchStream watch = client.watch(Query("/a"), {.token = "t0"});
  EXPECT_EQ(watch.token(), "t0");
  const auto batch = watch.next();
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->changes.at(0).version, 1);
  EXPECT_EQ(watch.token(), "t1");
}

}  // namespace datastore

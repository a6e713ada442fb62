// The classes that users build, and the decisions, without a server.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "channel.h"
#include "datastore/datastore.h"
#include "datastore/wire.h"
#include "retry.h"
#include "slots.h"

namespace datastore {
namespace {

using namespace std::chrono_literals;
using detail::Clock;
using detail::Slots;

// The error that a function throws.
template <typename Function>
Error error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  return {Reason::datastore, "nothing was thrown"};
}

TEST(Values, KeepTheKindOfWhatTheyAreMadeOf) {
  EXPECT_EQ(Value().kind(), Kind::null);
  EXPECT_EQ(Value(true).kind(), Kind::boolean);
  EXPECT_EQ(Value(1).kind(), Kind::int64);
  EXPECT_EQ(Value(1U).kind(), Kind::int64);
  EXPECT_EQ(Value(1.0F).kind(), Kind::floating);
  EXPECT_EQ(Value("a").kind(), Kind::string);
  EXPECT_EQ(Value(Bytes("a")).kind(), Kind::bytes);
  EXPECT_EQ(Value(std::chrono::sys_seconds(1s)).kind(), Kind::timestamp);
  EXPECT_EQ(Value(Key("/a")).kind(), Kind::key);
  EXPECT_NE(Value("a"), Value(Bytes("a")));
  EXPECT_NE(Value(1), Value(1.0));
}

TEST(Values, GiveMembersAndRefuseOtherKinds) {
  Value value = Map{{"name", "Samedan"}, {"geo", Map{{"lat", 46.5}}}};
  EXPECT_EQ(value["geo"]["lat"], 46.5);
  EXPECT_TRUE(std::as_const(value)["nothing"]["below"].is_null());
  value["geo"]["lon"] = 9.9;
  EXPECT_EQ(value["geo"].as<Map>().size(), 2U);
  EXPECT_THROW(static_cast<void>(value["name"].as<std::int64_t>()), InvalidValueError);
  EXPECT_EQ(value["name"].get_if<std::int64_t>(), nullptr);
}

TEST(Values, ThatCannotBeSentAreRefusedWithTheirPath) {
  EXPECT_THROW(Value(std::numeric_limits<std::uint64_t>::max()), InvalidValueError);
  const Value value = Map{{"a", List{1, 2, 3, "\xED\xA0\x80"}}};
  EXPECT_EQ(error_of([&] { wire::encode(value); }).details().path, "value['a'][3]");
  const Timestamp late(std::chrono::microseconds(253402300800'000'000));
  EXPECT_EQ(error_of([&] { wire::encode(late); }).details().path, "value");
  Value deep;
  for (int i = 0; i < 32; ++i) deep = List(1, deep);
  EXPECT_NO_THROW(wire::encode(deep));
  EXPECT_EQ(error_of([&] { wire::encode(List(1, deep)); }).reason(), Reason::invalid_value);
}

TEST(Keys, AreRefusedAtTheLimitAndForControlCharacters) {
  EXPECT_NO_THROW(Key("/" + std::string(1023, 'a')));
  EXPECT_THROW(Key("/" + std::string(1024, 'a')), InvalidKeyError);
  for (const char* text : {"/a\n", "/a\x7F", "/a\xC2\x85", "/a\xFF", "/a\xED\xA0\x80"}) {
    EXPECT_EQ(error_of([&] { Key{text}; }).details().field, "key") << text;
  }
  EXPECT_NO_THROW(Key("/a\xC2\xA0"));
}

TEST(Queries, AreComposedOfFiltersByOperatorsOrByName) {
  const Filter composed = field("country") == "CH" && field("elevation") > 1000 && !(field("iata") == "");
  const Filter named = all_of({Filter("country", Operator::equal, "CH"), Filter("elevation", Operator::greater, 1000),
                               not_(Filter("iata", Operator::equal, ""))});
  EXPECT_EQ(wire::encode(Query("/a").filter(composed)), wire::encode(Query("/a").filter(named)));
  const Query base("/a");
  const Query derived = base.limit(5);
  EXPECT_NE(wire::encode(base), wire::encode(derived));
}

TEST(Queries, ThatNoServerAcceptsAreRefused) {
  const Query query("/a");
  EXPECT_EQ(error_of([&] { static_cast<void>(query.limit(-1)); }).details().field, "query.limit");
  EXPECT_EQ(error_of([&] { static_cast<void>(query.offset(-1)); }).details().field, "query.offset");
  EXPECT_THROW(field("") == 1, InvalidQueryError);
  EXPECT_THROW(field(std::string(1025, 'a')) == 1, InvalidQueryError);
  EXPECT_THROW(static_cast<void>(query.order("-")), InvalidQueryError);
  EXPECT_THROW(all_of({}), InvalidQueryError);
  EXPECT_THROW(Filter("a", Operator::in, 1), InvalidQueryError);
  Filter deep = field("a") == 1;
  for (int i = 0; i < 17; ++i) deep = !deep;
  EXPECT_EQ(error_of([&] { wire::encode(query.filter(deep)); }).details().limit, "filter_depth");
}

TEST(Queries, StartAfterAnEntryWhosePositionIsKnown) {
  const Query query = Query("/a").order("n");
  EXPECT_NO_THROW(wire::encode(query.start_after({"/a/1", Map{{"n", 1}}, {}})));
  EXPECT_EQ(error_of([&] { wire::encode(query.start_after({"/a/1", {}, {}})); }).details().field, "value");
  const Query by_version = Query("/a").order("__version__");
  EXPECT_EQ(error_of([&] { wire::encode(by_version.start_after({"/a/1", 1, {}})); }).details().field, "metadata");
}

TEST(Errors, AreThrownAsTheClassOfTheirReason) {
  const Error error(Reason::overloaded, "busy", ErrorDetails{.retry_after = 20ms});
  EXPECT_THROW(error.raise(), OverloadedError);
  EXPECT_THROW(error.raise(), UnavailableError);
  EXPECT_FALSE(error.may_have_been_made());
  EXPECT_TRUE(Error(Reason::unavailable, "cut").may_have_been_made());
  for (int reason = 0; reason <= static_cast<int>(Reason::internal); ++reason) {
    EXPECT_EQ(reason_of(to_string(static_cast<Reason>(reason))), static_cast<Reason>(reason));
  }
}

TEST(Addresses, AreParsedOrRefused) {
  EXPECT_EQ(detail::parse_target("localhost", false).address, "localhost:7420");
  EXPECT_EQ(detail::parse_target("[::1]:80", false).address, "[::1]:80");
  EXPECT_TRUE(detail::parse_target("grpcs://db.example:1", false).tls);
  for (const char* text : {"", "7420", "a:0", "a:65536", "a:b", "http://a:1", "a:1:2", "a b"}) {
    EXPECT_EQ(error_of([&] { detail::parse_target(text, false); }).reason(), Reason::config) << text;
  }
}

TEST(Options, AreCheckedBeforeAnythingIsSent) {
  const auto reason = [](const Options& options, const char* address) {
    return error_of([&] { Client(address, options); }).reason();
  };
  EXPECT_EQ(reason({.token = "secret"}, "db.example:1"), Reason::config);
  EXPECT_EQ(reason({.token = "se cret"}, "127.0.0.1:1"), Reason::config);
  EXPECT_EQ(reason({.ca = "ca.pem"}, "127.0.0.1:1"), Reason::config);
  EXPECT_EQ(reason({.tls = true, .ca = "/nonexistent"}, "127.0.0.1:1"), Reason::config);
  EXPECT_EQ(reason({.tls = true, .cert = "cert.pem"}, "127.0.0.1:1"), Reason::config);
  EXPECT_EQ(reason({.timeout = 0ms}, "127.0.0.1:1"), Reason::invalid);
  EXPECT_EQ(reason({.retry = false, .retry_writes = true}, "127.0.0.1:1"), Reason::invalid);
}

TEST(Policy, BacksOffLongerEachTimeAndStartsAnewWithProgress) {
  detail::Policy policy(1h);
  const Error error(Reason::unavailable, "away");
  const Clock::duration first = *policy.backoff(error);
  EXPECT_GE(first, 25ms);
  EXPECT_LE(first, 50ms);
  for (int i = 0; i < 10; ++i) policy.backoff(error);
  const Clock::duration longest = *policy.backoff(error);
  EXPECT_GE(longest, 500ms);
  EXPECT_LE(longest, 1000ms);
  policy.saw_message();
  EXPECT_LE(*policy.backoff(error), 50ms);
}

TEST(Policy, WaitsAsLongAsTheServerAsksButNotBeyondTheDeadline) {
  const Error error(Reason::overloaded, "busy", ErrorDetails{.retry_after = 2s});
  EXPECT_GE(*detail::Policy(1h).backoff(error), 2s);
  EXPECT_FALSE(detail::Policy(1s).backoff(error));
}

TEST(Link, ExpectsBackWhatHasAnswered) {
  detail::Link link;
  EXPECT_FALSE(link.is_expected_back());
  link.down(false);
  EXPECT_FALSE(link.is_expected_back());
  link.up();
  link.down(false);
  EXPECT_TRUE(link.is_expected_back());
}

TEST(Places, AreGivenInOrderAndNoMoreThanThereAre) {
  Slots slots(2, 1000);
  std::atomic<int> taken = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < 50; ++call) {
        ASSERT_EQ(slots.take(Clock::time_point::max()), Slots::Turn::taken);
        const int now = ++taken;
        most = std::max(most.load(), now);
        std::this_thread::yield();
        --taken;
        slots.release();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 2);
}

TEST(Places, AreRefusedWhenTooManyWaitOrTooLongOrOnceClosed) {
  Slots slots(1, 0);
  EXPECT_EQ(slots.take(Clock::now()), Slots::Turn::taken);
  EXPECT_EQ(slots.take(Clock::time_point::max()), Slots::Turn::full);
  Slots patient(0, 1);
  EXPECT_EQ(patient.take(Clock::now() + 1ms), Slots::Turn::late);
  std::thread closer([&] { patient.close(); });
  EXPECT_EQ(patient.take(Clock::time_point::max()), Slots::Turn::closed);
  closer.join();
}

}  // namespace
}  // namespace datastore

// Twelve operations, one after the other: `operations ADDRESS` prints a line for each. docs/clients.md shows them
// beside those of the other languages.
#include <datastore/datastore.h>

#include <iostream>
#include <string>
#include <vector>

using namespace datastore;

namespace {

Value airport(const char* code, const char* name, const char* country, int elevation) {
  return Map{{"code", code}, {"name", name}, {"country", country}, {"elevation", elevation}};
}

void run(const std::string& address) {
  // [connect]
  Client client(address);
  // [/connect]

  // [put]
  client.put("/Airport:LSZS", airport("LSZS", "Samedan", "CH", 5600));
  // [/put]
  std::cout << "put /Airport:LSZS\n";

  // [get]
  const std::optional<Value> found = client.get("/Airport:LSZS");
  if (found) std::cout << "get " << (*found)["name"].as<std::string>() << "\n";
  // [/get]

  client.put("/Airport:XXXX", airport("XXXX", "Nowhere", "XX", 0));
  // [delete]
  client.erase("/Airport:XXXX");
  const bool is_there = client.contains("/Airport:XXXX");
  // [/delete]
  std::cout << "delete " << std::boolalpha << is_there << "\n";

  // [batch_write]
  const std::vector<WriteResult> written = client.batch_write({
      Write::put("/Airport:LSZS", airport("LSZS", "Samedan", "CH", 5600)),
      Write::put("/Airport:LSZH", airport("LSZH", "Zurich", "CH", 1416)),
      Write::put("/Airport:EDDF", airport("EDDF", "Frankfurt", "DE", 364)),
  });
  // [/batch_write]
  std::cout << "batch_write " << written.size() << "\n";

  // [batch_get]
  std::string codes;
  for (const ReadResult& read : client.batch_get({"/Airport:LSZH", "/Airport:EDDF", "/Airport:XXXX"})) {
    codes += " " + (read.value ? (*read.value)["code"].as<std::string>() : "-");
  }
  // [/batch_get]
  std::cout << "batch_get" << codes << "\n";

  // [query]
  std::string keys;
  const Query low = Query("/Airport").filter(field("elevation") < 5000).order("-elevation").limit(2);
  for (const Entry& entry : client.query(low)) keys += " " + entry.key.text();
  // [/query]
  std::cout << "query" << keys << "\n";

  // [condition]
  std::string reason;
  try {
    client.put("/Airport:LSZS", airport("LSZS", "Samedan", "CH", 5600), {.condition = Condition::absent()});
  } catch (const ConditionFailedError& error) {
    reason = to_string(error.reason());
    // Another writer was first: write over the version that is there.
    client.put("/Airport:LSZS", airport("LSZS", "Samedan", "CH", 5600),
               {.condition = Condition::version(error.details().version)});
  }
  // [/condition]
  std::cout << "condition " << reason << "\n";

  // [patch]
  const PatchResult patched = client.patch("/Airport:LSZS", Patch().increment("elevation", 1), {.return_value = true});
  const auto elevation = (*patched.value)["elevation"].as<std::int64_t>();
  // [/patch]
  std::cout << "patch " << elevation << "\n";

  // [expiry]
  const auto session = client.put("/Session:1", Map{{"user", "ada"}}, {.expiry = Expiry::in(std::chrono::hours(1))});
  const bool expires = session->expire_time.has_value();
  // [/expiry]
  std::cout << "expiry " << expires << "\n";

  // [aggregate]
  std::string counts;
  for (const Group& group : client.aggregate(Query("/Airport"), {Aggregation::count()}, {.group_by = {"country"}})) {
    counts += " " + group.group[0].as<std::string>() + "=" + std::to_string(group.values[0].as<std::int64_t>());
  }
  // [/aggregate]
  std::cout << "aggregate" << counts << "\n";

  // [watch]
  WatchStream watch = client.watch(Query("/Airport"));
  client.put("/Airport:LSZS", airport("LSZS", "Samedan", "CH", 5600));
  const Change change = watch.next()->changes.front();
  // [/watch]
  std::cout << "watch " << (change.kind == Change::Kind::put ? "PUT " : "DELETE ") << change.key.text() << "\n";
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: operations ADDRESS\n";
    return 2;
  }
  try {
    run(arguments[1]);
  } catch (const Error& error) {
    std::cerr << to_string(error.reason()) << ": " << error.what() << "\n";
    return 1;
  }
}

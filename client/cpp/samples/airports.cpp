// Imports a CSV of airports, prints a query's results, and watches a change: `airports ADDRESS airports.csv`. The
// columns are icao,iata,name,city,subd,country,elevation,lat,lon,tz,lid.
#include <datastore/datastore.h>

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

using namespace datastore;

namespace {

constexpr std::size_t batch_rows = 5000;

// The fields of a line of a CSV; one in quotes may contain commas, and quotes written twice.
std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields(1);
  bool is_quoted = false;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '"' && is_quoted && line.substr(at + 1, 1) == "\"") {
      fields.back() += line[++at];
    } else if (line[at] == '"') {
      is_quoted = !is_quoted;
    } else if (line[at] == ',' && !is_quoted) {
      fields.emplace_back();
    } else if (line[at] != '\r') {
      fields.back() += line[at];
    }
  }
  return fields;
}

Value airport(const std::vector<std::string>& columns, const std::vector<std::string>& fields) {
  Map map;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const bool is_number = columns[i] == "elevation" || columns[i] == "lat" || columns[i] == "lon";
    map[columns[i]] = is_number ? Value(std::stod(fields[i])) : Value(fields[i]);
  }
  return map;
}

void send(Client& client, std::vector<Write>& writes) {
  for (const WriteResult& result : client.batch_write(writes)) {
    if (result.error) result.error->raise();
  }
  writes.clear();
}

std::size_t import(Client& client, const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) throw std::runtime_error("cannot read " + path);
  const std::vector<std::string> columns = split(line);
  std::vector<Write> writes;
  std::size_t rows = 0;
  for (; std::getline(file, line); ++rows) {
    const std::vector<std::string> fields = split(line);
    writes.push_back(Write::put("/Airport:" + fields[0], airport(columns, fields)));
    if (writes.size() == batch_rows) send(client, writes);
  }
  send(client, writes);
  return rows;
}

void print_highest(Client& client) {
  const Query highest = Query("/Airport").filter(field("country") == "CH").order("-elevation").limit(5);
  for (const Entry& entry : client.query(highest)) {
    std::cout << entry.key.text() << " " << entry.value["name"].as<std::string>() << " "
              << entry.value["elevation"].as<double>() << "\n";
  }
}

void watch_one(Client& client) {
  WatchStream watch = client.watch(Query("/Airport").filter(field("country") == "CH"));
  client.patch("/Airport:LSZS", Patch().set("visited", true));
  for (const ChangeBatch& batch : watch) {
    std::cout << "changed " << batch.changes.front().key.text() << "\n";
    break;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: airports ADDRESS airports.csv\n";
    return 2;
  }
  try {
    Client client(arguments[1]);
    std::cout << "imported " << import(client, arguments[2]) << "\n";
    print_highest(client);
    watch_one(client);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

// The driver of the C++ client: JSON requests in, JSON responses out, a line each. See tests/clients/README.md.
#include <exception>
#include <iostream>

#include "operations.h"

namespace {

using driver::Json;

Json answer(const driver::Operations& operations, const Json& request) {
  const auto operation = operations.find(request.at("op"));
  if (operation == operations.end()) return {{"unsupported", "this operation is not known"}};
  try {
    return {{"result", operation->second(request)}};
  } catch (const datastore::Error& error) {
    return {{"error", driver::to_json(error)}};
  } catch (const driver::Unsupported& error) {
    return {{"unsupported", error.what()}};
  } catch (const std::exception& error) {
    return {{"error", {{"reason", "DRIVER"}, {"message", error.what()}, {"details", Json::object()}}}};
  }
}

}  // namespace

int main() {
  driver::Operations operations;
  driver::add_local(operations);
  driver::add_session(operations);
  driver::add_bench(operations);
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = Json::parse(line);
    Json response = answer(operations, request);
    response["id"] = request.at("id");
    // Server texts may have been cut in the middle of a character.
    std::cout << response.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
}

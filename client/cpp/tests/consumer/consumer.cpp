// Exits with 0 if the installed client compiles, links and says what is wrong with an address.
#include <datastore/datastore.h>

int main() {
  try {
    datastore::Client client("not an address");
  } catch (const datastore::Error& error) {
    return error.reason() == datastore::Reason::config ? 0 : 1;
  }
  return 1;
}

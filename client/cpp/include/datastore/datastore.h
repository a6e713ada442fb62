// Everything that users of the client need.
#pragma once

#include "datastore/client.h"  // IWYU pragma: export
#include "datastore/entry.h"   // IWYU pragma: export
#include "datastore/error.h"   // IWYU pragma: export
#include "datastore/key.h"     // IWYU pragma: export
#include "datastore/query.h"   // IWYU pragma: export
#include "datastore/stream.h"  // IWYU pragma: export
#include "datastore/value.h"   // IWYU pragma: export
#include "datastore/write.h"   // IWYU pragma: export

package io.github.datastore.client;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** Looks up the fields of values by their paths. Pure. */
final class Fields {
  static final String KEY = "__key__";
  static final String VALUE = "__value__";
  static final Set<String> METADATA = Set.of("__version__", "__create_time__", "__update_time__");
  static final int MAX_PATH_BYTES = 1024;

  private Fields() {}

  /** The member of a map at a path; null if it is missing. */
  static Object find(Object value, String path) {
    if (!(value instanceof Map<?, ?> map)) {
      return null;
    }
    if (map.containsKey(path)) {
      return map.get(path);
    }
    int dot = path.indexOf('.');
    return dot < 0 ? null : find(map.get(path.substring(0, dot)), path.substring(dot + 1));
  }

  /** A field of an entry, which may be its key, its whole value, or one of its metadata. */
  static Object find(Entry entry, String path) {
    return switch (path) {
      case KEY -> entry.key();
      case VALUE -> entry.value();
      case "__version__" -> metadata(entry).version();
      case "__create_time__" -> metadata(entry).createTime();
      case "__update_time__" -> metadata(entry).updateTime();
      default -> find(entry.value(), path);
    };
  }

  /**
   * The map of these fields of a value, nested as in the value; an empty one for any value but a
   * map.
   */
  static Map<String, Object> cut(Object value, List<String> paths) {
    Map<String, Object> kept = new LinkedHashMap<>();
    if (!(value instanceof Map<?, ?> map)) {
      return kept;
    }
    Map<String, List<String>> within = new LinkedHashMap<>();
    for (String path : paths) {
      int dot = path.indexOf('.');
      if (map.containsKey(path)) {
        kept.put(path, map.get(path));
      } else if (dot >= 0) {
        within
            .computeIfAbsent(path.substring(0, dot), name -> new ArrayList<>())
            .add(path.substring(dot + 1));
      }
    }
    within.forEach(
        (name, rests) -> {
          Map<String, Object> inner = cut(map.get(name), rests);
          if (!inner.isEmpty()) {
            kept.putIfAbsent(name, inner);
          }
        });
    return kept;
  }

  private static Metadata metadata(Entry entry) {
    return entry.metadata().orElseThrow(() -> unknown(entry, "its metadata"));
  }

  static DatastoreException unknown(Entry entry, String without) {
    return Reason.INVALID_QUERY.exception(
        "the position of %s in these orders is not known without %s"
            .formatted(entry.key(), without),
        Details.NONE.with("field", "query.start_after"));
  }

  /** A path to send. */
  static String checked(String path) {
    return checked(path, Reason.INVALID_QUERY);
  }

  static String checked(String path, Reason reason) {
    Objects.requireNonNull(path, "path");
    String fault = "";
    if (path.isEmpty()) {
      fault = "the path of a field is empty; name one, e.g. 'age' or '__key__'";
    } else if (Text.loneSurrogate(path) >= 0) {
      fault = "the path of a field has a lone surrogate, which UTF-8 cannot carry";
    } else if (Text.utf8Length(path) > MAX_PATH_BYTES) {
      fault = "the path of a field has at most %,d bytes of UTF-8".formatted(MAX_PATH_BYTES);
    }
    if (!fault.isEmpty()) {
      throw reason.exception(fault, Details.NONE.with("field", "field_path"));
    }
    return path;
  }
}

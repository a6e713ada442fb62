package io.github.datastore.driver;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.datastore.client.Aggregate;
import io.github.datastore.client.Condition;
import io.github.datastore.client.Delete;
import io.github.datastore.client.Entry;
import io.github.datastore.client.Expiry;
import io.github.datastore.client.Filter;
import io.github.datastore.client.Key;
import io.github.datastore.client.Patch;
import io.github.datastore.client.Put;
import io.github.datastore.client.Query;
import io.github.datastore.client.Touch;
import io.github.datastore.client.Write;
import java.math.BigInteger;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** What requests contain, as a user of the client would write it. */
final class Requests {
  private Requests() {}

  static boolean flag(JsonObject request, String name) {
    return request.has(name) && request.get(name).getAsBoolean();
  }

  static List<String> texts(JsonObject request, String name) {
    List<String> texts = new ArrayList<>();
    if (request.has(name)) {
      request.getAsJsonArray(name).forEach(text -> texts.add(text.getAsString()));
    }
    return texts;
  }

  static String[] array(JsonObject request, String name) {
    return texts(request, name).toArray(String[]::new);
  }

  static Query query(JsonObject request) {
    JsonObject asked = request.getAsJsonObject("query");
    Query query = Query.of(asked.get("key").getAsString()).order(array(asked, "orders"));
    if (asked.has("filters")) {
      for (JsonElement filter : asked.getAsJsonArray("filters")) {
        query = query.filter(filter(filter));
      }
    }
    query = flag(asked, "recursive") ? query.recursive() : query;
    query = flag(asked, "keys_only") ? query.keysOnly() : query;
    query = flag(asked, "metadata") ? query.withMetadata() : query;
    query = flag(request, "allow_partial") ? query.allowPartial() : query;
    query = flag(request, "explain") ? query.explain() : query;
    query = asked.has("fields") ? query.fields(array(asked, "fields")) : query;
    query = asked.has("limit") ? query.limit(asked.get("limit").getAsLong()) : query;
    query = asked.has("offset") ? query.offset(asked.get("offset").getAsLong()) : query;
    return asked.has("start_after")
        ? query.startAfter(entry(asked.getAsJsonObject("start_after")))
        : query;
  }

  static Entry entry(JsonObject written) {
    Object value = written.has("value") ? Notation.plain(written.get("value")) : null;
    return new Entry(Key.of(written.get("key").getAsString()), value);
  }

  private static Filter filter(JsonElement written) {
    if (written instanceof JsonArray comparison) {
      return Filter.of(
          comparison.get(0).getAsString(),
          comparison.get(1).getAsString(),
          Notation.plain(comparison.get(2)));
    }
    JsonObject tree = written.getAsJsonObject();
    if (tree.has("not")) {
      return Filter.not(filter(tree.get("not")));
    }
    String joint = tree.has("and") ? "and" : "or";
    List<Filter> filters = new ArrayList<>();
    tree.getAsJsonArray(joint).forEach(part -> filters.add(filter(part)));
    Filter[] parts = filters.toArray(Filter[]::new);
    return joint.equals("and") ? Filter.and(parts) : Filter.or(parts);
  }

  static Condition condition(JsonObject written) {
    if (written.has("version")) {
      return Condition.version(Long.parseLong(written.get("version").getAsString()));
    }
    return written.get("exists").getAsBoolean() ? Condition.exists() : Condition.absent();
  }

  static Expiry expiry(JsonObject written) {
    if (written.has("in_ms")) {
      return Expiry.in(Duration.ofMillis(Long.parseLong(written.get("in_ms").getAsString())));
    }
    return Expiry.at(Notation.instant(new BigInteger(written.get("at").getAsString()), 1_000_000));
  }

  /** A write of a batch. */
  static Write write(JsonObject written) {
    if (written.has("put")) {
      return put(written.getAsJsonObject("put"), written);
    }
    if (written.has("delete")) {
      return delete(written.get("delete").getAsString(), written);
    }
    if (written.has("patch")) {
      return patch(written.getAsJsonObject("patch"), written);
    }
    return touch(written.get("touch").getAsString(), written);
  }

  static Put put(JsonObject entry, JsonObject terms) {
    Put put = Put.of(Key.of(entry.get("key").getAsString()), Notation.plain(entry.get("value")));
    put = terms.has("condition") ? put.when(condition(terms.getAsJsonObject("condition"))) : put;
    return terms.has("expiry") ? put.expires(expiry(terms.getAsJsonObject("expiry"))) : put;
  }

  static Delete delete(String key, JsonObject terms) {
    if (terms.has("expiry")) {
      throw new Notation.Inexpressible("a Delete has no expiry");
    }
    Delete delete = Delete.of(Key.of(key));
    return terms.has("condition")
        ? delete.when(condition(terms.getAsJsonObject("condition")))
        : delete;
  }

  static Touch touch(String key, JsonObject terms) {
    Touch touch = Touch.of(Key.of(key));
    touch =
        terms.has("condition") ? touch.when(condition(terms.getAsJsonObject("condition"))) : touch;
    return terms.has("expiry") ? touch.expires(expiry(terms.getAsJsonObject("expiry"))) : touch;
  }

  static Patch patch(JsonObject asked, JsonObject terms) {
    Patch patch = Patch.of(Key.of(asked.get("key").getAsString()));
    for (JsonElement change : asked.getAsJsonArray("changes")) {
      patch = changed(patch, change.getAsJsonArray());
    }
    patch = flag(asked, "create") ? patch.orCreate() : patch;
    patch = flag(terms, "return_value") ? patch.returningValue() : patch;
    patch =
        terms.has("condition") ? patch.when(condition(terms.getAsJsonObject("condition"))) : patch;
    return terms.has("expiry") ? patch.expires(expiry(terms.getAsJsonObject("expiry"))) : patch;
  }

  private static Patch changed(Patch patch, JsonArray change) {
    String path = change.get(1).getAsString();
    Object operand = change.size() > 2 ? Notation.plain(change.get(2)) : null;
    return switch (change.get(0).getAsString()) {
      case "set" -> patch.set(path, operand);
      case "increment" -> {
        if (operand instanceof Number number) {
          yield patch.increment(path, number);
        }
        throw new Notation.Inexpressible("an increment is a Number");
      }
      case "append" -> {
        if (operand instanceof List<?> values) {
          yield patch.append(path, values);
        }
        throw new Notation.Inexpressible("what is appended is a List");
      }
      default -> patch.remove(path);
    };
  }

  static Aggregate aggregate(JsonObject request) {
    Aggregate aggregate =
        Aggregate.of(query(request))
            .groupBy(array(request, "group_by"))
            .order(array(request, "orders"));
    for (JsonElement each : request.getAsJsonArray("aggregations")) {
      JsonObject part = each.getAsJsonObject();
      String name = part.get("as").getAsString();
      String field = part.has("field") ? part.get("field").getAsString() : null;
      aggregate =
          switch (part.get("function").getAsString()) {
            case "COUNT" -> field == null ? aggregate.count(name) : aggregate.count(field, name);
            case "SUM" -> aggregate.sum(field, name);
            case "AVG" -> aggregate.avg(field, name);
            case "MIN" -> aggregate.min(field, name);
            default -> aggregate.max(field, name);
          };
    }
    return request.has("limit") ? aggregate.limit(request.get("limit").getAsLong()) : aggregate;
  }
}

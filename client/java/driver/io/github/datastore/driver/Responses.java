package io.github.datastore.driver;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.datastore.client.Change;
import io.github.datastore.client.DatastoreException;
import io.github.datastore.client.Entry;
import io.github.datastore.client.Metadata;
import io.github.datastore.client.ReadResult;
import io.github.datastore.client.Summary;
import io.github.datastore.client.WriteResult;
import java.util.Collection;
import java.util.Optional;
import java.util.Set;

/** What the client returned, as the suite reads it. */
final class Responses {
  private static final Set<String> DETAILS =
      Set.of(
          "shard",
          "field",
          "path",
          "limit",
          "maximum",
          "version",
          "index",
          "owner",
          "epoch",
          "right",
          "incident",
          "request_id");

  private Responses() {}

  static JsonObject error(DatastoreException error) {
    JsonObject details = new JsonObject();
    error.details().entrySet().stream()
        .filter(detail -> DETAILS.contains(detail.getKey()))
        .forEach(detail -> details.addProperty(detail.getKey(), detail.getValue()));
    error
        .retryAfter()
        .ifPresent(
            delay -> details.addProperty("retry_after_ms", String.valueOf(delay.toMillis())));
    JsonObject reported = new JsonObject();
    reported.addProperty("reason", error.reason().name());
    reported.addProperty("message", error.getMessage());
    reported.add("details", details);
    return reported;
  }

  static JsonObject failed(DatastoreException error) {
    JsonObject failed = new JsonObject();
    failed.add("error", error(error));
    return failed;
  }

  static JsonObject metadata(Metadata metadata) {
    JsonObject shown = new JsonObject();
    shown.addProperty("version", String.valueOf(metadata.version()));
    shown.addProperty("create_time", Notation.micros(metadata.createTime()));
    shown.addProperty("update_time", Notation.micros(metadata.updateTime()));
    metadata
        .expireTime()
        .ifPresent(time -> shown.addProperty("expire_time", Notation.micros(time)));
    return shown;
  }

  static JsonObject found(Optional<Object> value, Optional<Metadata> metadata) {
    JsonObject shown = new JsonObject();
    value.ifPresent(found -> shown.add("value", Notation.written(found)));
    metadata.ifPresent(found -> shown.add("metadata", metadata(found)));
    return shown;
  }

  static JsonObject read(ReadResult result) {
    return result.error().map(Responses::failed).orElseGet(() -> found(result.entry()));
  }

  static JsonObject found(Optional<Entry> entry) {
    return found(entry.map(Entry::value), entry.flatMap(Entry::metadata));
  }

  static JsonObject made(WriteResult result) {
    return result
        .error()
        .map(Responses::failed)
        .orElseGet(() -> found(result.value(), result.metadata()));
  }

  static JsonObject entry(Entry entry, boolean isKeysOnly) {
    JsonObject shown =
        found(isKeysOnly ? Optional.empty() : Optional.of(entry.value()), entry.metadata());
    shown.addProperty("key", entry.key().text());
    return shown;
  }

  static JsonObject change(Change change) {
    JsonObject metadata = new JsonObject();
    metadata.addProperty("version", String.valueOf(change.version()));
    JsonObject entry = found(change.value(), Optional.empty());
    entry.addProperty("key", change.key().text());
    entry.add("metadata", metadata);
    JsonObject shown = new JsonObject();
    shown.addProperty("kind", change.kind().name());
    shown.add("entry", entry);
    return shown;
  }

  static JsonObject summary(Summary summary) {
    JsonObject shown = new JsonObject();
    shown.addProperty("reason", summary.reason().name());
    shown.addProperty("entries", String.valueOf(summary.entries()));
    shown.add("unreachable", texts(summary.unreachable()));
    summary
        .explanation()
        .ifPresent(explanation -> shown.addProperty("explained", explanation.getKind()));
    return shown;
  }

  static JsonArray texts(Collection<String> texts) {
    JsonArray array = new JsonArray();
    texts.forEach(array::add);
    return array;
  }
}

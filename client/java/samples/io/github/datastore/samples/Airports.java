package io.github.datastore.samples;

import io.github.datastore.client.Change;
import io.github.datastore.client.ChangeBatch;
import io.github.datastore.client.Client;
import io.github.datastore.client.Entry;
import io.github.datastore.client.Key;
import io.github.datastore.client.Put;
import io.github.datastore.client.Query;
import io.github.datastore.client.QueryCursor;
import io.github.datastore.client.WatchCursor;
import io.github.datastore.client.WriteResult;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.commons.csv.CSVFormat;
import org.apache.commons.csv.CSVParser;
import org.apache.commons.csv.CSVRecord;

/**
 * Imports a CSV file of airports, prints the highest of Switzerland, and watches one of them
 * change.
 */
public final class Airports {
  private static final int BATCH = 5000;

  private Airports() {}

  /**
   * Runs the sample.
   *
   * @param arguments the address of a server, and the name of a CSV file
   * @throws IOException if the file cannot be read
   */
  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 2) {
      System.err.println("usage: airports ADDRESS FILE.csv");
      System.exit(2);
    }
    try (Client client = Client.connect(arguments[0])) {
      System.out.printf("imported %d airports%n", imported(client, Path.of(arguments[1])));
      Query highest =
          Query.of("/Airport").filter("country", "=", "CH").order("-elevation").limit(5);
      try (QueryCursor cursor = client.query(highest)) {
        for (Entry airport : cursor) {
          System.out.printf(
              "%s %s %s%n", airport.key(), airport.field("name"), airport.field("elevation"));
        }
      }
      watchOneChange(client);
    }
  }

  private static int imported(Client client, Path file) throws IOException {
    CSVFormat format = CSVFormat.DEFAULT.builder().setHeader().setSkipHeaderRecord(true).get();
    int imported = 0;
    try (CSVParser rows = CSVParser.parse(file, StandardCharsets.UTF_8, format)) {
      List<Put> batch = new ArrayList<>();
      for (CSVRecord row : rows) {
        batch.add(Put.of(Key.of("/Airport:" + row.get("icao")), airport(row)));
        if (batch.size() == BATCH) {
          imported += written(client, batch);
        }
      }
      imported += written(client, batch);
    }
    return imported;
  }

  private static Map<String, Object> airport(CSVRecord row) {
    return Map.of(
        "name", row.get("name"),
        "city", row.get("city"),
        "country", row.get("country"),
        "elevation", (long) Double.parseDouble(row.get("elevation")),
        "lat", Double.parseDouble(row.get("lat")),
        "lon", Double.parseDouble(row.get("lon")));
  }

  private static int written(Client client, List<Put> batch) {
    client.batchWrite(batch).forEach(WriteResult::orElseThrow);
    int count = batch.size();
    batch.clear();
    return count;
  }

  private static void watchOneChange(Client client) {
    Key samedan = Key.of("/Airport:LSZS");
    try (WatchCursor watch = client.watch(Query.of("/Airport"))) {
      client.update(samedan, airport -> changed(airport.orElseThrow()));
      for (ChangeBatch batch : watch) {
        for (Change change : batch.changes()) {
          System.out.printf("watched %s %s%n", change.kind(), change.key());
          return;
        }
      }
    }
  }

  private static Object changed(Object airport) {
    @SuppressWarnings("unchecked")
    Map<String, Object> fields = (Map<String, Object>) airport;
    fields.put("visited", true);
    return fields;
  }
}

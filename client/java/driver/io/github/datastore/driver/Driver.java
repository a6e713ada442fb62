package io.github.datastore.driver;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.stream.JsonReader;
import io.github.datastore.client.DatastoreException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;

/**
 * The driver of the Java client: answers the requests of the suite, which tests/clients/README.md
 * describes.
 */
public final class Driver {
  private static final Gson JSON = new GsonBuilder().disableHtmlEscaping().create();

  /** How deep requests may be nested: deeper than what they ask to refuse. */
  private static final int NESTING = 10_000;

  private final Operations operations = new Operations();

  private Driver() {}

  /**
   * Answers one request after another.
   *
   * @param arguments none
   * @throws IOException if the input cannot be read
   */
  public static void main(String[] arguments) throws IOException {
    Driver driver = new Driver();
    BufferedReader requests =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream responses = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      JsonReader reader = new JsonReader(new StringReader(line));
      reader.setNestingLimit(NESTING);
      JsonObject request = JSON.fromJson(reader, JsonObject.class);
      JsonObject response = driver.response(request);
      response.add("id", request.get("id"));
      responses.println(JSON.toJson(response));
    }
    driver.operations.close();
  }

  private JsonObject response(JsonObject request) {
    try {
      JsonObject response = new JsonObject();
      response.add("result", operations.run(request.get("op").getAsString(), request));
      return response;
    } catch (Notation.Inexpressible reason) {
      JsonObject response = new JsonObject();
      response.addProperty("unsupported", reason.getMessage());
      return response;
    } catch (DatastoreException error) {
      return Responses.failed(error);
    }
  }
}

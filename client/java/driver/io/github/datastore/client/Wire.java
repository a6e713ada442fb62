package io.github.datastore.client;

import com.google.protobuf.InvalidProtocolBufferException;
import io.github.datastore.v1.Value;

/**
 * What the client sends and makes of what it receives, as bytes: for the driver, which asks for
 * them without a server.
 */
public final class Wire {
  private Wire() {}

  /**
   * The bytes of a value.
   *
   * @param value the value
   * @return a serialized message
   */
  public static byte[] encoded(Object value) {
    return Values.encode(value).toByteArray();
  }

  /**
   * The value of bytes.
   *
   * @param bytes a serialized message
   * @return the value
   */
  public static Object decoded(byte[] bytes) {
    try {
      return Values.decode(Value.parseFrom(bytes));
    } catch (InvalidProtocolBufferException error) {
      throw Reason.CORRUPT_DATA.exception("the bytes are not a value").causedBy(error);
    }
  }

  /**
   * The sort key of a value.
   *
   * @param value the value
   * @param descending whether the highest is first
   * @return the bytes
   */
  public static byte[] sortKey(Object value, boolean descending) {
    Values.encode(value);
    return SortKeys.of(value, descending);
  }

  /**
   * The bytes of a query.
   *
   * @param query the query
   * @return a serialized message
   */
  public static byte[] encoded(Query query) {
    return query.message().toByteArray();
  }

  /**
   * The exception for a status.
   *
   * @param status a serialized {@code google.rpc.Status}
   * @return the exception
   */
  public static DatastoreException failure(byte[] status) {
    try {
      return Failures.of(com.google.rpc.Status.parseFrom(status));
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException(error);
    }
  }
}

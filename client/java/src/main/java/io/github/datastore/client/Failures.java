package io.github.datastore.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;

/** Converts failed calls to exceptions, in plain words. Makes no calls. */
final class Failures {
  private static final String DOMAIN = "datastore";
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private Failures() {}

  /** The error that a status of our servers stands for. */
  static DatastoreException of(com.google.rpc.Status status) {
    Optional<ErrorInfo> info =
        detail(status, ErrorInfo.class).filter(found -> found.getDomain().equals(DOMAIN));
    Optional<RetryInfo> retry = detail(status, RetryInfo.class);
    Details details = Details.of(info.map(ErrorInfo::getMetadataMap).orElse(Map.of()));
    Optional<RequestInfo> request = detail(status, RequestInfo.class);
    if (request.isPresent()) {
      details = details.with("request_id", request.get().getRequestId());
    }
    if (retry.isPresent()) {
      com.google.protobuf.Duration delay = retry.get().getRetryDelay();
      details = details.retryAfter(Duration.ofSeconds(delay.getSeconds(), delay.getNanos()));
    }
    Reason reason =
        info.flatMap(found -> known(found.getReason()))
            .orElse(byCode(status.getCode(), retry.isPresent()));
    String text = status.getMessage();
    if (reason == Reason.DATASTORE && info.isEmpty()) {
      text = "%s: %s".formatted(Code.forNumber(status.getCode()), text);
    }
    return reason.exception(text, details);
  }

  /**
   * The same, as the error of a call or an item: what the server closed was not closed by the
   * caller.
   */
  static DatastoreException ofServer(com.google.rpc.Status status) {
    DatastoreException error = of(status);
    return error.reason() == Reason.DATASTORE_CLOSED
        ? Reason.UNAVAILABLE.exception(error.getMessage(), error.facts())
        : error;
  }

  private static <T extends Message> Optional<T> detail(
      com.google.rpc.Status status, Class<T> kind) {
    for (Any detail : status.getDetailsList()) {
      if (detail.is(kind)) {
        try {
          return Optional.of(detail.unpack(kind));
        } catch (InvalidProtocolBufferException error) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }

  private static Optional<Reason> known(String name) {
    return Arrays.stream(Reason.values()).filter(reason -> reason.name().equals(name)).findFirst();
  }

  private static Reason byCode(int number, boolean hasRetryInfo) {
    Code code = Code.forNumber(number);
    return switch (code == null ? Code.UNKNOWN : code) {
      case UNAVAILABLE, CANCELLED -> Reason.UNAVAILABLE;
      case DEADLINE_EXCEEDED -> Reason.DEADLINE_EXCEEDED;
      case UNAUTHENTICATED -> Reason.UNAUTHENTICATED;
      case PERMISSION_DENIED -> Reason.PERMISSION_DENIED;
      case RESOURCE_EXHAUSTED -> hasRetryInfo ? Reason.OVERLOADED : Reason.LIMIT_EXCEEDED;
      case INVALID_ARGUMENT, OUT_OF_RANGE -> Reason.INVALID;
      case UNIMPLEMENTED -> Reason.QUERY_NOT_SUPPORTED;
      case DATA_LOSS -> Reason.CORRUPT_DATA;
      case INTERNAL, UNKNOWN -> Reason.INTERNAL;
      default -> Reason.DATASTORE;
    };
  }

  /** Whether a failed call ended with a status of our server, not of gRPC itself. */
  static boolean isAnswer(Metadata trailers) {
    return trailers.containsKey(DETAILS);
  }

  /**
   * The error of a call to a server that failed; {@code wasSent} if the call had reached a
   * connection.
   */
  static DatastoreException ofCall(
      String server, Status status, Metadata trailers, boolean wasSent, Duration timeout) {
    Throwable cause = status.asRuntimeException(trailers);
    if (isAnswer(trailers)) {
      return ofServer(StatusProto.fromStatusAndTrailers(status, trailers)).causedBy(cause);
    }
    String details = described(status);
    if (details.startsWith("Failed to read message")) {
      return Reason.CORRUPT_DATA
          .exception("the answer of %s cannot be read (%s)".formatted(server, details))
          .causedBy(cause);
    }
    if (isReset(status, details)) {
      return cut(server, details, wasSent).causedBy(cause);
    }
    DatastoreException failure =
        of(
            com.google.rpc.Status.newBuilder()
                .setCode(status.getCode().value())
                .setMessage(details)
                .build());
    return switch (failure.reason()) {
      case UNAVAILABLE -> cut(server, details, wasSent).causedBy(cause);
      case DEADLINE_EXCEEDED ->
          Reason.DEADLINE_EXCEEDED
              .exception(
                  "the call to %s did not finish within %s s".formatted(server, seconds(timeout)))
              .causedBy(cause);
      case QUERY_NOT_SUPPORTED ->
          Reason.QUERY_NOT_SUPPORTED
              .exception(
                  "%s speaks another version of the protocol, or is another service (%s)"
                      .formatted(server, details))
              .causedBy(cause);
      default ->
          failure
              .reason()
              .exception(server + ": " + failure.getMessage(), failure.facts())
              .causedBy(cause);
    };
  }

  static String seconds(Duration timeout) {
    return String.valueOf(timeout.toMillis() / 1000.0).replaceAll("\\.0$", "");
  }

  /** gRPC calls a stream that was reset, or that ended without its status, INTERNAL or UNKNOWN. */
  private static boolean isReset(Status status, String details) {
    boolean isByGrpc =
        status.getCode() == Status.Code.INTERNAL || status.getCode() == Status.Code.UNKNOWN;
    return isByGrpc
        && (details.contains("RST_STREAM")
            || details.contains("Received unexpected EOS")
            || details.contains("HTTP/2 error code")
            || status.getCause() instanceof java.io.IOException);
  }

  private static DatastoreException cut(String server, String details, boolean wasSent) {
    return wasSent
        ? Reason.UNAVAILABLE.exception(
            "a call to %s was cut short (%s)".formatted(server, PlainWords.ofCut(details)))
        : Reason.UNAVAILABLE.exception(
            "cannot connect to %s (%s)"
                .formatted(server, PlainWords.ofNoConnection(server, details)),
            Details.NONE.unsent());
  }

  /** What a status and its causes say. */
  private static String described(Status status) {
    StringBuilder text = new StringBuilder(String.valueOf(status.getDescription()));
    for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
      text.append("; ").append(cause);
    }
    return text.toString();
  }
}

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
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Converts failed calls to exceptions, in plain words. Makes no calls. */
final class Failures {
  private static final String DOMAIN = "datastore";

  /** Longer than any deadline, and short enough to be added to. */
  private static final Duration LONGEST_DELAY = Duration.ofDays(366);

  /** What gRPC says of an answer that is not the whole message that it should be. */
  private static final List<String> UNREADABLE =
      List.of(
          "Failed to read message",
          "Encountered end-of-stream mid-frame",
          "gRPC frame header malformed");

  /** What gRPC says of a stream that was reset, or that ended without a status. */
  private static final List<String> RESET =
      List.of(
          "RST_STREAM",
          "Received unexpected EOS",
          "HTTP/2 error code",
          "missing GRPC status in response",
          "HTTP status code 200\nmissing GRPC status");

  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private Failures() {}

  /** The error that a status of our servers stands for. */
  static DatastoreException of(com.google.rpc.Status status) {
    Optional<ErrorInfo> info =
        detail(status, ErrorInfo.class).filter(found -> found.getDomain().equals(DOMAIN));
    Optional<RetryInfo> retry = detail(status, RetryInfo.class);
    Reason reason =
        info.flatMap(found -> known(found.getReason()))
            .orElse(byCode(status.getCode(), retry.isPresent()));
    Details details = Details.of(info.map(ErrorInfo::getMetadataMap).orElse(Map.of()));
    Optional<RequestInfo> request = detail(status, RequestInfo.class);
    if (request.isPresent()) {
      details = details.with("request_id", request.get().getRequestId());
    }
    if (retry.isPresent() && isRetried(reason)) {
      details = details.retryAfter(delay(retry.get().getRetryDelay()));
    }
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

  /** Whether a delay of the server counts; errors of other reasons are final. */
  private static boolean isRetried(Reason reason) {
    return reason == Reason.UNAVAILABLE
        || reason == Reason.OVERLOADED
        || reason == Reason.DATASTORE_CLOSED;
  }

  /** A delay that a server sent, which may be any number: from zero to the longest. */
  private static Duration delay(com.google.protobuf.Duration message) {
    if (message.getSeconds() > LONGEST_DELAY.toSeconds()) {
      return LONGEST_DELAY;
    }
    if (message.getSeconds() < 0) {
      return Duration.ZERO;
    }
    Duration delay = Duration.ofSeconds(message.getSeconds(), message.getNanos());
    return delay.isNegative() ? Duration.ZERO : delay;
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
  static boolean isAnswer(Status status, Metadata trailers) {
    return answer(status, trailers).isPresent();
  }

  /**
   * The status of our server; empty without one, and for details that do not belong to the call.
   */
  private static Optional<com.google.rpc.Status> answer(Status status, Metadata trailers) {
    try {
      return Optional.ofNullable(trailers.get(DETAILS))
          .map(Failures::parsed)
          .filter(details -> details.getCode() == status.getCode().value());
    } catch (IllegalArgumentException malformed) {
      return Optional.empty();
    }
  }

  private static com.google.rpc.Status parsed(byte[] details) {
    try {
      return com.google.rpc.Status.parseFrom(details);
    } catch (InvalidProtocolBufferException error) {
      throw new IllegalArgumentException(error);
    }
  }

  /**
   * The error of a call to a server that failed; {@code wasSent} if the call had reached a
   * connection.
   */
  static DatastoreException ofCall(
      String server, Status status, Metadata trailers, boolean wasSent, Duration timeout) {
    Throwable cause = status.asRuntimeException(trailers);
    Optional<com.google.rpc.Status> answer = answer(status, trailers);
    if (answer.isPresent()) {
      return ofServer(answer.get()).causedBy(cause);
    }
    String details = described(status);
    if (UNREADABLE.stream().anyMatch(details::startsWith)) {
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
      case DEADLINE_EXCEEDED -> late(server, timeout).causedBy(cause);
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

  static DatastoreException late(String server, Duration timeout) {
    return Reason.DEADLINE_EXCEEDED.exception(
        "the call to %s did not finish within %s s".formatted(server, seconds(timeout)));
  }

  static String seconds(Duration timeout) {
    return String.valueOf(timeout.toMillis() / 1000.0).replaceAll("\\.0$", "");
  }

  /** Whether a stream was reset, or ended without its status, to which gRPC gives several codes. */
  private static boolean isReset(Status status, String details) {
    return switch (status.getCode()) {
      case INTERNAL, UNKNOWN ->
          RESET.stream().anyMatch(details::contains)
              || status.getCause() instanceof java.io.IOException;
      // By the codes ENHANCE_YOUR_CALM and INADEQUATE_SECURITY of HTTP/2.
      case RESOURCE_EXHAUSTED, PERMISSION_DENIED -> RESET.stream().anyMatch(details::contains);
      default -> false;
    };
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

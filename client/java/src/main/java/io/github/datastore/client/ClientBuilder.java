package io.github.datastore.client;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/** The settings of a {@link Client}. */
public final class ClientBuilder {
  private static final Duration LONGEST_TIMEOUT = Duration.ofDays(366);

  private final List<String> addresses;
  private Path ca;
  private Path certificate;
  private Path privateKey;
  private String token;
  private boolean insecure;
  private Duration timeout = Duration.ofSeconds(10);
  private Duration queryTimeout = Duration.ofHours(1);
  private boolean retry = true;
  private boolean retryWrites;

  ClientBuilder(List<String> addresses) {
    this.addresses = addresses;
  }

  /**
   * The authorities that are trusted to sign the certificates of servers, by default those of the
   * system.
   *
   * @param file in PEM
   * @return this
   */
  public ClientBuilder ca(Path file) {
    ca = Objects.requireNonNull(file, "file");
    return this;
  }

  /**
   * The certificate of the client, for a server that demands one.
   *
   * @param certificate a file in PEM, with the certificates that lead to its authority
   * @param privateKey a file in PEM, PKCS #8
   * @return this
   */
  public ClientBuilder certificate(Path certificate, Path privateKey) {
    this.certificate = certificate;
    this.privateKey = privateKey;
    return this;
  }

  /**
   * The token that says who calls. It is only sent over TLS, or to this machine.
   *
   * @param token letters, digits and {@code -._~+/=}
   * @return this
   */
  public ClientBuilder token(String token) {
    this.token = Objects.requireNonNull(token, "token");
    return this;
  }

  /**
   * Sends the token to other machines also without TLS, where anyone on the network can read it.
   *
   * @return this
   */
  public ClientBuilder insecure() {
    insecure = true;
    return this;
  }

  /**
   * The time limit of each call but queries, over all its attempts: 10 s by default.
   *
   * @param timeout above 0, at most a year
   * @return this
   */
  public ClientBuilder timeout(Duration timeout) {
    this.timeout = Objects.requireNonNull(timeout, "timeout");
    return this;
  }

  /**
   * The time limit of a query from its first to its last entry: an hour by default.
   *
   * @param timeout above 0, at most a year
   * @return this
   */
  public ClientBuilder queryTimeout(Duration timeout) {
    queryTimeout = Objects.requireNonNull(timeout, "timeout");
    return this;
  }

  /**
   * Whether calls that may be repeated are: true by default.
   *
   * @param retry false to fail at once
   * @return this
   */
  public ClientBuilder retry(boolean retry) {
    this.retry = retry;
    return this;
  }

  /**
   * Whether writes whose outcome is not known are made again, too; the store makes each only once.
   * False by default.
   *
   * @param retryWrites true to repeat them
   * @return this
   */
  public ClientBuilder retryWrites(boolean retryWrites) {
    this.retryWrites = retryWrites;
    return this;
  }

  /**
   * The client. It connects at its first call.
   *
   * @return the client, which the caller must close
   * @throws DatastoreException with {@link Reason#CONFIG} for addresses, files and a token that are
   *     not valid, {@link Reason#INVALID} for timeouts
   */
  public Client connect() {
    List<Target> targets = addresses.stream().map(Target::of).toList();
    checkTargets(targets);
    checkToken(targets);
    checkTimeout("timeout", timeout);
    checkTimeout("queryTimeout", queryTimeout);
    if (retryWrites && !retry) {
      throw Reason.INVALID.exception(
          "retryWrites needs retry", Details.NONE.with("field", "retry_writes"));
    }
    return new Client(
        new Settings(
            targets,
            Optional.ofNullable(ca),
            Optional.ofNullable(certificate),
            Optional.ofNullable(privateKey),
            Optional.ofNullable(token),
            timeout,
            queryTimeout,
            retry,
            retryWrites));
  }

  private void checkTargets(List<Target> targets) {
    if (targets.isEmpty()) {
      throw Reason.CONFIG.exception(
          "a client needs the address of a server, e.g. grpc://127.0.0.1:7420");
    }
    long secure = targets.stream().filter(Target::isSecure).count();
    if (secure != 0 && secure != targets.size()) {
      throw Reason.CONFIG.exception(
          "the addresses of one client are all with TLS, grpcs:, or all without");
    }
    if ((certificate == null) != (privateKey == null)) {
      throw Reason.CONFIG.exception("a certificate and its private key are given together");
    }
    if (secure == 0 && (ca != null || certificate != null)) {
      throw Reason.CONFIG.exception(
          "certificates are for servers with TLS, whose addresses begin with grpcs:");
    }
  }

  private void checkToken(List<Target> targets) {
    if (token == null) {
      return;
    }
    if (!token.matches("[-A-Za-z0-9._~+/=]+")) {
      throw Reason.CONFIG.exception("a token has only letters, digits and -._~+/=");
    }
    for (Target target : targets) {
      if (!target.isSecure() && !target.isLoopback() && !insecure) {
        throw Reason.CONFIG.exception(
            "the token would be sent to %s without encryption; use grpcs:, or insecure()"
                .formatted(target));
      }
    }
  }

  private static void checkTimeout(String name, Duration timeout) {
    if (timeout.isZero() || timeout.isNegative() || timeout.compareTo(LONGEST_TIMEOUT) > 0) {
      throw Reason.INVALID.exception(
          "%s must be above 0 and at most a year, not %s".formatted(name, timeout),
          Details.NONE.with("field", name));
    }
  }
}

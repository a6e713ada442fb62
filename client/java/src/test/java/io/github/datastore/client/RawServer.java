package io.github.datastore.client;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.function.IntFunction;
import java.util.logging.Level;
import java.util.logging.Logger;

/** A server that answers the beginning of each call by frames of HTTP/2 that may be anything. */
final class RawServer implements AutoCloseable {
  /** It would log what the tests send. Held, because loggers are forgotten otherwise. */
  private static final Logger GO_AWAYS =
      Logger.getLogger("io.grpc.netty.shaded.io.grpc.netty.NettyClientHandler");

  static {
    GO_AWAYS.setLevel(Level.SEVERE);
  }

  private static final int PREFACE_BYTES = 24;
  private static final byte DATA = 0;
  private static final byte HEADERS = 1;
  private static final byte RST_STREAM = 3;
  private static final byte SETTINGS = 4;
  private static final byte GOAWAY = 7;
  private static final byte END_STREAM = 1;
  private static final byte END_HEADERS = 4;

  private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
  private final IntFunction<byte[]> answer;

  /** {@code answer} makes the frames for the number of a stream. */
  RawServer(IntFunction<byte[]> answer) throws IOException {
    this.answer = answer;
    Thread thread = new Thread(this::accept, "raw-server");
    thread.setDaemon(true);
    thread.start();
  }

  String address() {
    return "127.0.0.1:" + listener.getLocalPort();
  }

  @Override
  public void close() throws IOException {
    listener.close();
  }

  private void accept() {
    while (!listener.isClosed()) {
      try (Socket socket = listener.accept()) {
        serve(new DataInputStream(socket.getInputStream()), socket.getOutputStream());
      } catch (IOException ended) {
        // By the client, or by the test.
      }
    }
  }

  private void serve(DataInputStream from, OutputStream to) throws IOException {
    from.readFully(new byte[PREFACE_BYTES]);
    to.write(frame(SETTINGS, 0, 0));
    while (true) {
      int lengthAndKind = from.readInt();
      from.readByte();
      int stream = from.readInt();
      from.readFully(new byte[lengthAndKind >>> 8]);
      if ((lengthAndKind & 0xff) == HEADERS) {
        to.write(answer.apply(stream));
      }
    }
  }

  private static byte[] frame(byte kind, int flags, int stream, int... payload) {
    ByteBuffer frame = ByteBuffer.allocate(9 + 4 * payload.length);
    frame.putInt(4 * payload.length << 8 | kind).put((byte) flags).putInt(stream);
    for (int part : payload) {
      frame.putInt(part);
    }
    return frame.array();
  }

  /** Resets a stream. */
  static byte[] reset(int stream, int code) {
    return frame(RST_STREAM, 0, stream, code);
  }

  /** Ends the connection, before the stream was looked at or after. */
  static byte[] goAway(int lastStream, int code) {
    return frame(GOAWAY, 0, 0, lastStream, code);
  }

  /** The end of a stream as data, without a status. */
  static byte[] end(int stream) {
    return frame(DATA, END_STREAM, stream);
  }

  /** The headers of an answer that data follow. */
  static byte[] begin(int stream) {
    return headers(END_HEADERS, stream, header());
  }

  /** The headers of an answer that has nothing else; with more of them, each as it is written. */
  static byte[] headers(int stream, String... more) {
    ByteArrayOutputStream block = header();
    for (int i = 0; i < more.length; i += 2) {
      literal(block, more[i], more[i + 1]);
    }
    return headers(END_HEADERS | END_STREAM, stream, block);
  }

  /** The end of a stream as trailers, without a status. */
  static byte[] trailers(int stream) {
    ByteArrayOutputStream block = new ByteArrayOutputStream();
    literal(block, "x-nothing", "none");
    return headers(END_HEADERS | END_STREAM, stream, block);
  }

  private static ByteArrayOutputStream header() {
    ByteArrayOutputStream block = new ByteArrayOutputStream();
    block.write(0x88); // :status 200, which HPACK has in its table.
    literal(block, "content-type", "application/grpc");
    return block;
  }

  private static byte[] headers(int flags, int stream, ByteArrayOutputStream block) {
    ByteBuffer frame = ByteBuffer.allocate(9 + block.size());
    frame.putInt(block.size() << 8 | HEADERS).put((byte) flags).putInt(stream);
    return frame.put(block.toByteArray()).array();
  }

  private static void literal(ByteArrayOutputStream block, String... parts) {
    block.write(0); // A literal that is not to be kept; its name follows.
    for (String part : parts) {
      block.write(part.length());
      block.writeBytes(part.getBytes(StandardCharsets.US_ASCII));
    }
  }

  /** Frames one after another. */
  static byte[] joined(byte[]... frames) {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    for (byte[] frame : frames) {
      all.writeBytes(frame);
    }
    return all.toByteArray();
  }
}

package io.github.datastore.client;

import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.Channel;
import io.grpc.netty.shaded.io.netty.channel.ChannelHandlerContext;
import io.grpc.netty.shaded.io.netty.channel.ChannelInboundHandlerAdapter;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.ConnectTimeoutException;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioSocketChannel;
import io.grpc.netty.shaded.io.netty.handler.codec.http2.Http2ConnectionHandler;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * The sockets of all clients of this process. One is given up, and the next address tried, if its
 * server has not spoken HTTP/2 in time; gRPC itself would wait for it for ever.
 */
final class Sockets {
  /** For as long as the process runs; its threads start with the first connections. */
  private static final EventLoopGroup LOOPS =
      new MultiThreadIoEventLoopGroup(
          new DefaultThreadFactory("datastore-client-io", true),
          Epoll.isAvailable() ? EpollIoHandler.newFactory() : NioIoHandler.newFactory());

  private Sockets() {}

  /** Makes the connections of a channel within a time, up to the server's settings. */
  static NettyChannelBuilder within(Duration time, NettyChannelBuilder builder) {
    return builder
        .eventLoopGroup(LOOPS)
        .channelFactory(() -> opened(time))
        .withOption(ChannelOption.CONNECT_TIMEOUT_MILLIS, (int) time.toMillis());
  }

  private static Channel opened(Duration time) {
    Channel channel = Epoll.isAvailable() ? new EpollSocketChannel() : new NioSocketChannel();
    channel.pipeline().addFirst(new Greeting(time));
    return channel;
  }

  /** Waits for the settings of the server, with which it begins to speak. */
  private static final class Greeting extends ChannelInboundHandlerAdapter {
    private final Duration time;

    Greeting(Duration time) {
      this.time = time;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
      context.executor().schedule(() -> end(context), time.toNanos(), TimeUnit.NANOSECONDS);
    }

    private void end(ChannelHandlerContext context) {
      Http2ConnectionHandler speaker = context.pipeline().get(Http2ConnectionHandler.class);
      boolean hasSpoken = speaker != null && speaker.decoder().prefaceReceived();
      if (context.channel().isActive() && !hasSpoken) {
        context.fireExceptionCaught(
            new ConnectTimeoutException("connection timed out: no settings of HTTP/2 came"));
      }
      if (!context.isRemoved()) {
        context.pipeline().remove(this);
      }
    }
  }
}

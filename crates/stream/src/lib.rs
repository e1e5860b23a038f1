//! Connections as streams: HTTP/1 and HTTP/2, server side, client side, pools.

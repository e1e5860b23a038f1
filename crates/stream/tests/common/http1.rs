//! A simple-minded HTTP/1 client.

use tokio::io::{AsyncRead, AsyncReadExt};

/// A reply as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Start line and fields, without `Date`.
    pub head: String,
    pub body: Vec<u8>,
    /// With the trailers' lines, if it was chunked.
    pub trailers: String,
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Reads bytes one reply at a time.
pub struct Reader<R> {
    io: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(io: R) -> Self {
        Self { io, buffer: Vec::new() }
    }

    /// Whether the connection has ended, and nothing was left.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.more().await, Ok(0))
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        self.io.read_buf(&mut self.buffer).await
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if !matches!(self.more().await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !matches!(self.more().await, Ok(1..)) {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// The next reply to `method`; `None` = it never came, or not to its end.
    pub async fn reply(&mut self, method: &str) -> Option<Reply> {
        let mut reply = Reply { head: self.line().await?, ..Reply::default() };
        reply.status = reply.head.split(' ').nth(1)?.parse().ok()?;
        loop {
            let line = self.line().await?;
            match line.as_str() {
                "\r\n" => break,
                line if line.to_ascii_lowercase().starts_with("date:") => {}
                line => reply.head.push_str(line),
            }
        }
        let bodiless = method == "HEAD" || matches!(reply.status, 100..=199 | 204 | 304);
        if bodiless {
            return Some(reply);
        }
        if reply.field("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(self.line().await?.trim(), 16).ok()?;
                if size == 0 {
                    break;
                }
                reply.body.extend(self.exactly(size).await?);
                self.line().await.filter(|end| end == "\r\n")?;
            }
            loop {
                match self.line().await? {
                    line if line == "\r\n" => break,
                    line => reply.trailers.push_str(&line),
                }
            }
        } else if let Some(length) = reply.field("content-length") {
            let length = length.parse().ok()?;
            reply.body = self.exactly(length).await?;
        } else {
            while self.more().await.ok()? > 0 {}
            reply.body = std::mem::take(&mut self.buffer);
        }
        Some(reply)
    }
}

//! What the peer says, frame by frame.

use mosn_codec::http2::{
    ErrorCode, FRAME_HEAD, Fields, Frame, FrameError, FrameHead, MAX_WINDOW, PREFACE, Payload, Reply,
    RequestRefusal, Setting, Settings, hpack::DecodeError, kind, next_frame, write_go_away, write_ping,
    write_settings_ack,
};
use mosn_core::{BodyLength, Failure, Headers, ResponseHead};
use mosn_net::scratch;

use super::{
    connection::{Begun, Connection, LEAVING, Leaving, PartialBlock, Side},
    stream::{Ending, Stream},
};
use http::StatusCode;

/// Frames that one header block may come in.
const MAX_BLOCK_FRAMES: usize = 128;
/// Interim replies that wait to be taken.
const MAX_INTERIM: usize = 100;

/// What is wrong with a frame.
enum Problem {
    /// The connection has to end.
    Connection(ErrorCode),
    /// The stream has.
    Stream(u32, ErrorCode),
}

impl From<FrameError> for Problem {
    fn from(error: FrameError) -> Self {
        Self::Connection(error.code())
    }
}

impl From<DecodeError> for Problem {
    fn from(_: DecodeError) -> Self {
        Self::Connection(ErrorCode::COMPRESSION_ERROR)
    }
}

const PROTOCOL: Problem = Problem::Connection(ErrorCode::PROTOCOL_ERROR);

impl Connection {
    /// Takes in as many whole frames as there are; how many bytes those are.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.begun == Begun::No {
            let seen = bytes.len().min(PREFACE.len());
            if bytes[..seen] != PREFACE[..seen] {
                self.fail(ErrorCode::PROTOCOL_ERROR);
                return bytes.len();
            }
            if seen < PREFACE.len() {
                return 0;
            }
            self.begun = Begun::Preface;
            at = PREFACE.len();
        }
        while self.over.is_none() {
            match next_frame(&bytes[at..]) {
                Ok(Some((head, payload))) => {
                    at += FRAME_HEAD + head.length;
                    match self.frame(head, payload) {
                        Ok(()) => {}
                        Err(Problem::Connection(code)) => self.fail(code),
                        Err(Problem::Stream(id, code)) => self.stream_error(id, code),
                    }
                }
                Ok(None) => return at,
                Err(error) => self.fail(error.code()),
            }
        }
        bytes.len()
    }

    fn stream_error(&mut self, id: u32, code: ErrorCode) {
        let why = match &mut self.side {
            Side::Server(server) => {
                server.flood.count_error();
                if code == ErrorCode::PROTOCOL_ERROR { Failure::BadRequest } else { Failure::ClientGone }
            }
            Side::Client(_) => Failure::UpstreamReset,
        };
        match self.find(id) {
            Some(key) => self.reset(key, code, why),
            None => self.reset_unknown(id, code),
        }
    }

    fn frame(&mut self, head: FrameHead, payload: Payload<'_>) -> Result<(), Problem> {
        if let Side::Server(server) = &mut self.side {
            server.flood.count(head);
            if server.flood.is_tripped() {
                return Err(Problem::Connection(ErrorCode::ENHANCE_YOUR_CALM));
            }
        }
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(PROTOCOL);
        }
        let id = head.stream;
        let frame = head.parse(payload)?;
        if self.begun == Begun::Preface && !matches!(frame, Frame::Settings(_)) {
            return Err(PROTOCOL);
        }
        match frame {
            Frame::Data { data, end } => self.data(id, data, head.length, end),
            Frame::Headers { block, end_stream, end_headers: true } => self.headers(id, block, end_stream),
            Frame::Headers { block, end_stream, .. } => {
                self.block =
                    Some(Box::new(PartialBlock { stream: id, end_stream, bytes: block.to_vec(), frames: 1 }));
                Ok(())
            }
            Frame::Continuation { block, end_headers } => self.continuation(block, end_headers),
            Frame::Reset(code) => self.peer_reset(id, code),
            Frame::Settings(settings) => self.settings(settings),
            Frame::Ping(payload) => {
                write_ping(self.output.buffer(), payload, true);
                Ok(())
            }
            Frame::Pong(payload) => {
                self.pong(payload);
                Ok(())
            }
            Frame::GoAway { last, .. } => {
                self.peer_goes(last);
                Ok(())
            }
            Frame::WindowUpdate(more) => self.window_update(id, more),
            Frame::PushPromise => Err(PROTOCOL),
            Frame::SettingsAck | Frame::Ignored => Ok(()),
        }
    }

    /// Whether nothing was ever said on this stream.
    fn is_idle(&self, id: u32) -> bool {
        match &self.side {
            Side::Server(server) => id.is_multiple_of(2) || id > server.last,
            Side::Client(client) => id.is_multiple_of(2) || id >= client.next,
        }
    }

    fn data(&mut self, id: u32, data: &[u8], flow: usize, end: bool) -> Result<(), Problem> {
        let found = self.find(id);
        if found.is_none() && self.is_idle(id) {
            return Err(PROTOCOL);
        }
        self.windows.left -= flow as i64;
        if self.windows.left < 0 {
            return Err(Problem::Connection(ErrorCode::FLOW_CONTROL_ERROR));
        }
        let Some(key) = found else {
            self.give_back(None, flow as u32);
            if self.was_reset(id) {
                return Ok(());
            }
            if let Side::Server(server) = &mut self.side {
                server.flood.count_useless();
            }
            self.reset_unknown(id, ErrorCode::STREAM_CLOSED);
            return Ok(());
        };
        let client = matches!(self.side, Side::Client(_));
        let stream = &mut self.streams[key];
        let incoming = &mut stream.incoming;
        let problem = if incoming.closed {
            Some(ErrorCode::STREAM_CLOSED)
        } else if (flow as i64) > incoming.window {
            Some(ErrorCode::FLOW_CONTROL_ERROR)
        } else if (client && !incoming.head_seen) || !incoming.fits(data.len(), end) {
            Some(ErrorCode::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(code) = problem {
            self.give_back(None, flow as u32);
            return Err(Problem::Stream(id, code));
        }
        incoming.window -= flow as i64;
        // Padding is used up at once, and so is what nobody reads.
        let mut unused = flow - data.len();
        if stream.used {
            incoming.push(data);
        } else {
            unused = flow;
        }
        if end {
            incoming.finish(Ending::Plain);
        }
        stream.wake();
        self.give_back(Some(key), unused as u32);
        if end {
            self.close_if_over(key);
        }
        Ok(())
    }

    fn continuation(&mut self, more: &[u8], end_headers: bool) -> Result<(), Problem> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL) };
        block.frames += 1;
        block.bytes.extend_from_slice(more);
        // A list within the limit is no longer than this even where its coding makes it longer.
        if block.frames > MAX_BLOCK_FRAMES || block.bytes.len() > self.max_header_list as usize * 4 {
            return Err(Problem::Connection(ErrorCode::ENHANCE_YOUR_CALM));
        }
        if end_headers {
            return self.headers(block.stream, &block.bytes, block.end_stream);
        }
        self.block = Some(block);
        Ok(())
    }

    fn headers(&mut self, id: u32, block: &[u8], end: bool) -> Result<(), Problem> {
        scratch::with_write(|text| {
            let fields = Fields::decode(&mut self.decoder, block, self.max_header_list, text)?;
            match (self.find(id), &self.side) {
                (Some(key), Side::Client(_)) if !self.streams[key].incoming.head_seen => {
                    self.reply(id, key, fields, end)
                }
                (Some(key), _) => self.trailers(id, key, fields, end),
                (None, Side::Server(_)) => self.request(id, fields, end),
                (None, Side::Client(_)) if self.is_idle(id) => Err(PROTOCOL),
                // Its request has given it up.
                (None, Side::Client(_)) => Ok(()),
            }
        })
    }

    /// A stream that the client opens.
    fn request(&mut self, id: u32, fields: Fields<'_>, end: bool) -> Result<(), Problem> {
        let (open, all, was_reset) = (self.open_streams(), self.streams.len(), self.was_reset(id));
        let Side::Server(server) = &mut self.side else { return Err(PROTOCOL) };
        if id.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        if id <= server.last {
            return match () {
                () if was_reset => Ok(()),
                // It may never have been opened at all.
                () if server.gap => Err(PROTOCOL),
                () => Err(Problem::Connection(ErrorCode::STREAM_CLOSED)),
            };
        }
        if matches!(server.leaving, Leaving::At(last) if id > last) {
            // The client knew, or will know soon, that this is for another connection.
            return Ok(());
        }
        server.gap |= id > server.last + 2;
        server.last = id;
        // Streams that the client has reset take room until their requests have noticed.
        if open >= server.max_streams || all >= server.max_streams * 2 {
            self.reset_unknown(id, ErrorCode::REFUSED_STREAM);
            return Ok(());
        }
        match fields.into_request(server.scheme, server.limits, end) {
            Ok(head) => {
                let mut stream = Stream::new(id, self.windows.stream, self.peer.initial_window);
                stream.incoming.closed = end;
                if let BodyLength::Known(length) = head.body {
                    stream.incoming.expected = Some(length);
                }
                let key = self.insert(stream);
                if let Side::Server(server) = &mut self.side {
                    server.accepted.push((key, head));
                }
                Ok(())
            }
            Err(RequestRefusal::Malformed) => Err(Problem::Stream(id, ErrorCode::PROTOCOL_ERROR)),
            Err(RequestRefusal::Refused(why)) => {
                server.refused.push(why);
                self.refuse(id, why, end);
                Ok(())
            }
        }
    }

    /// Answers what does not become a request.
    fn refuse(&mut self, id: u32, why: Failure, end: bool) {
        let mut stream = Stream::new(id, self.windows.stream, self.peer.initial_window);
        stream.used = false;
        stream.incoming.closed = end;
        stream.outgoing.stops_peer = true;
        let key = self.insert(stream);
        let reply = Reply {
            status: StatusCode::from_u16(why.row().status).unwrap_or(StatusCode::BAD_REQUEST),
            headers: &Headers::default(),
            body: Some(BodyLength::Empty),
            date: None,
            tunnel: false,
        };
        // A stream that was just opened takes a reply.
        let _ = self.send_reply(key, reply, true);
    }

    fn reply(&mut self, id: u32, key: usize, fields: Fields<'_>, end: bool) -> Result<(), Problem> {
        let malformed = Problem::Stream(id, ErrorCode::PROTOCOL_ERROR);
        let Ok(response) = fields.into_response() else { return Err(malformed) };
        let stream = &mut self.streams[key];
        let incoming = &mut stream.incoming;
        if response.status.is_informational() {
            if end {
                return Err(malformed);
            }
            if incoming.interim.len() == MAX_INTERIM {
                return Err(Problem::Stream(id, ErrorCode::ENHANCE_YOUR_CALM));
            }
            incoming.interim.push_back((response.status, response.headers));
            stream.wake();
            return Ok(());
        }
        incoming.head_seen = true;
        // RFC 9110 8.6: these may say the length of a body that they do not have.
        let bodiless =
            incoming.bodiless || matches!(response.status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        incoming.expected = if bodiless { Some(0) } else { response.content_length };
        if !incoming.fits(0, end) {
            return Err(malformed);
        }
        let body = match response.content_length.filter(|length| *length > 0) {
            _ if end => BodyLength::Empty,
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Unknown,
        };
        incoming.head = Some(ResponseHead { status: response.status, headers: response.headers, body });
        if end {
            incoming.finish(Ending::Plain);
        }
        stream.wake();
        if end {
            self.close_if_over(key);
        }
        Ok(())
    }

    fn trailers(&mut self, id: u32, key: usize, fields: Fields<'_>, end: bool) -> Result<(), Problem> {
        let incoming = &mut self.streams[key].incoming;
        if incoming.closed {
            return Err(Problem::Stream(id, ErrorCode::STREAM_CLOSED));
        }
        match fields.into_trailers() {
            Ok(trailers) if end && incoming.fits(0, true) => {
                incoming.finish(Ending::Trailers(Box::new(trailers)));
            }
            _ => return Err(Problem::Stream(id, ErrorCode::PROTOCOL_ERROR)),
        }
        self.streams[key].wake();
        self.close_if_over(key);
        Ok(())
    }

    fn peer_reset(&mut self, id: u32, code: ErrorCode) -> Result<(), Problem> {
        let Some(key) = self.find(id) else {
            return if self.is_idle(id) { Err(PROTOCOL) } else { Ok(()) };
        };
        let why = match &self.side {
            Side::Server(_) => Failure::ClientGone,
            Side::Client(_) => match code {
                ErrorCode::REFUSED_STREAM => Failure::UpstreamRefused,
                ErrorCode::CANCEL => Failure::UpstreamCancelled,
                _ => Failure::UpstreamReset,
            },
        };
        let stream = &mut self.streams[key];
        if stream.incoming.closed && matches!(self.side, Side::Client(_)) {
            // The reply is whole; the peer only wants no more of the request (RFC 9113 8.1).
            stream.outgoing.data.clear();
            stream.outgoing.end = None;
            stream.outgoing.closed = true;
            stream.wake();
            self.close_if_over(key);
        } else {
            self.abandon(key, why);
        }
        Ok(())
    }

    fn settings(&mut self, settings: Settings<'_>) -> Result<(), Problem> {
        if self.begun == Begun::Preface {
            self.begun = Begun::Yes;
            self.begin_upgraded();
        }
        let mut window = self.peer.initial_window;
        for setting in settings.iter() {
            match setting.map_err(|error| Problem::Connection(error.code()))? {
                Setting::HeaderTableSize(size) => self.encoder.set_max_size(size),
                Setting::EnablePush(true) if matches!(self.side, Side::Client(_)) => return Err(PROTOCOL),
                Setting::MaxConcurrentStreams(max) => self.peer.max_streams = max as usize,
                Setting::InitialWindowSize(size) => window = i64::from(size),
                Setting::EnableConnectProtocol(enabled) => {
                    if self.peer.extended_connect && !enabled {
                        return Err(PROTOCOL);
                    }
                    self.peer.extended_connect = enabled;
                }
                // Larger frames and lists are of no use to us.
                Setting::EnablePush(_) | Setting::MaxFrameSize(_) | Setting::MaxHeaderListSize(_) => {}
            }
        }
        self.resize_windows(window)?;
        write_settings_ack(self.output.buffer());
        self.open_waiting();
        Ok(())
    }

    /// The client has shown that it speaks HTTP/2: the request that it upgraded with can begin.
    fn begin_upgraded(&mut self) {
        match &mut self.side {
            Side::Server(server) => {
                let unsaid = std::mem::take(&mut server.unsaid);
                let upgraded = server.upgraded.take();
                if !unsaid.is_empty() {
                    self.begin(&unsaid);
                }
                let Some(head) = upgraded else { return };
                let mut stream = Stream::new(1, self.windows.stream, self.peer.initial_window);
                stream.incoming.closed = true;
                let key = self.insert(stream);
                if let Side::Server(server) = &mut self.side {
                    server.last = 1;
                    server.accepted.push((key, head));
                }
            }
            Side::Client(_) => {
                // Unless it says otherwise, it takes any number; and who waits for its settings has them.
                self.peer.max_streams = usize::MAX;
                self.streams.iter().for_each(|(_, stream)| stream.wake());
            }
        }
    }

    /// The peer's windows follow its setting, also those in use (RFC 9113 6.9.2).
    fn resize_windows(&mut self, window: i64) -> Result<(), Problem> {
        let change = window - std::mem::replace(&mut self.peer.initial_window, window);
        if change == 0 {
            return Ok(());
        }
        let mut grown = Vec::new();
        for (key, stream) in &mut self.streams {
            let before = stream.outgoing.window;
            stream.outgoing.window += change;
            if stream.outgoing.window > i64::from(MAX_WINDOW) {
                return Err(Problem::Connection(ErrorCode::FLOW_CONTROL_ERROR));
            }
            if before <= 0 && stream.outgoing.window > 0 {
                grown.push(key);
            }
        }
        for key in grown {
            self.window_opened(key);
        }
        Ok(())
    }

    fn window_opened(&mut self, key: usize) {
        self.pump(key, usize::MAX);
        if let Some(stream) = self.streams.get(key)
            && !stream.outgoing.is_pending()
        {
            stream.wake();
        }
    }

    fn window_update(&mut self, id: u32, more: u32) -> Result<(), Problem> {
        if id == 0 {
            if more == 0 {
                return Err(PROTOCOL);
            }
            self.send_window += i64::from(more);
            if self.send_window > i64::from(MAX_WINDOW) {
                return Err(Problem::Connection(ErrorCode::FLOW_CONTROL_ERROR));
            }
            self.let_in();
            return Ok(());
        }
        let Some(key) = self.find(id) else {
            return if self.is_idle(id) { Err(PROTOCOL) } else { Ok(()) };
        };
        if more == 0 {
            return Err(Problem::Stream(id, ErrorCode::PROTOCOL_ERROR));
        }
        let outgoing = &mut self.streams[key].outgoing;
        let before = outgoing.window;
        outgoing.window += i64::from(more);
        if outgoing.window > i64::from(MAX_WINDOW) {
            return Err(Problem::Stream(id, ErrorCode::FLOW_CONTROL_ERROR));
        }
        if before <= 0 && outgoing.window > 0 {
            self.window_opened(key);
        }
        Ok(())
    }

    /// The client has read that we leave: what it has opened by now is the last.
    fn pong(&mut self, payload: [u8; 8]) {
        if let Side::Server(server) = &mut self.side
            && payload == LEAVING
            && server.leaving == Leaving::Told
        {
            server.leaving = Leaving::At(server.last);
            write_go_away(self.output.buffer(), server.last, ErrorCode::NO_ERROR);
        }
    }

    /// The peer opens no more streams, and has begun none of ours above `last`.
    fn peer_goes(&mut self, last: u32) {
        let Side::Client(client) = &mut self.side else { return };
        client.gone_away = true;
        client.waiting.clear();
        let refused: Vec<usize> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.is_over() && (stream.id == 0 || stream.id > last))
            .map(|(key, _)| key)
            .collect();
        for key in refused {
            self.abandon(key, Failure::UpstreamRefused);
        }
    }
}

//! Hedging: a try whose time is up goes on beside the next one, and the first that answers wins.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mosn_core::{Failure, Frame, ResponseHead};
use mosn_router::Retry;
use mosn_stream::{ClientStream, Reply};

use crate::{
    Upstreams,
    exchange::MAX_INTERIM,
    report::{Report, UpstreamTry},
};

/// A try whose time is up, and which may answer all the same.
pub(crate) struct Overdue<U: Upstreams> {
    stream: U::Stream,
    try_: UpstreamTry<U::Attempt>,
    /// Its place in the cluster's retry budget.
    _token: Option<U::RetryToken>,
    /// What the request's facts said while it was the current one.
    address: Option<Arc<str>>,
    hostname: Option<Arc<str>>,
    connection_id: Option<u64>,
    /// Interim replies so far. They are not sent on.
    interim: u32,
}

/// The reply of an overdue try; what follows its first frame comes from the stream.
pub(crate) struct Answer<C> {
    pub(crate) stream: C,
    pub(crate) reply: Box<(ResponseHead, Option<Frame>)>,
}

impl<U: Upstreams> Overdue<U> {
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<(ResponseHead, Option<Frame>), Failure>> {
        loop {
            match self.stream.poll_reply(cx) {
                Poll::Ready(Ok(Reply::Head(head, first))) => return Poll::Ready(Ok((head, first))),
                Poll::Ready(Ok(Reply::Interim(..))) if self.interim == MAX_INTERIM => {
                    return Poll::Ready(Err(Failure::UpstreamReset));
                }
                Poll::Ready(Ok(Reply::Interim(..))) => self.interim += 1,
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(reset.0)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<U: Upstreams> Report<'_, U> {
    /// The current try's time is up: it goes on beside those that follow.
    pub(crate) fn set_aside(&mut self, stream: U::Stream, token: Option<U::RetryToken>) {
        if let Some(mut try_) = self.try_.take() {
            // That is what it will have been, unless it answers.
            try_.failed(Failure::PerTryTimeout);
            self.overdue.push(Overdue {
                stream,
                try_,
                _token: token,
                address: self.info.upstream_address.clone(),
                hostname: self.info.upstream_hostname.clone(),
                connection_id: self.info.upstream_connection_id,
                interim: 0,
            });
        }
    }

    /// Waits for the overdue tries. The one that answers becomes the current one in place of any that
    /// is.
    ///
    /// Those that fail are given up, and so are those that answer what the policy would try again for;
    /// but where they are `alone`, the last one's reply or failure is the result.
    pub(crate) fn poll_overdue(
        &mut self,
        cx: &mut Context<'_>,
        policy: &Retry,
        alone: bool,
    ) -> Poll<Result<Answer<U::Stream>, Failure>> {
        let mut index = 0;
        while let Some(overdue) = self.overdue.get_mut(index) {
            let Poll::Ready(reply) = overdue.poll_reply(cx) else {
                index += 1;
                continue;
            };
            let mut answered = self.overdue.remove(index);
            let last = alone && self.overdue.is_empty();
            match reply {
                Ok((head, first)) => {
                    self.try_replied(&mut answered.try_, head.status);
                    if last || !policy.wants(&head) {
                        let stream = self.adopt(answered);
                        return Poll::Ready(Ok(Answer { stream, reply: Box::new((head, first)) }));
                    }
                    self.end_of(answered.try_, false);
                }
                Err(why) => {
                    answered.try_.failed(why);
                    self.end_of(answered.try_, true);
                    if last {
                        return Poll::Ready(Err(why));
                    }
                }
            }
        }
        Poll::Pending
    }

    fn adopt(&mut self, answered: Overdue<U>) -> U::Stream {
        self.cancel_try();
        self.try_ = Some(answered.try_);
        self.info.upstream_address = answered.address;
        self.info.upstream_hostname = answered.hostname;
        self.info.upstream_connection_id = answered.connection_id;
        answered.stream
    }

    /// Another try won, or the request is over.
    pub(crate) fn end_overdue(&mut self) {
        for overdue in std::mem::take(&mut self.overdue) {
            self.end_of(overdue.try_, true);
        }
    }
}

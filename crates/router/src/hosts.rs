use std::{ops::Index, sync::Arc};

use crate::VirtualHost;

/// A router's virtual hosts, in configuration order. A list that differs in one of them shares the
/// rest, and costs little more than that one.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// All full but the last.
    chunks: Box<[Chunk]>,
    length: usize,
}

type Chunk = Arc<[Arc<VirtualHost>]>;

/// Copying the list of chunks and copying one chunk of 10,000 hosts cost about the same.
const CHUNK: usize = 128;

impl Hosts {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<VirtualHost>> {
        (0..self.length).map(|index| self.slot(index))
    }

    /// With another one at `index`, which is there.
    pub(crate) fn with(&self, index: usize, host: VirtualHost) -> Self {
        let mut host = Some(Arc::new(host));
        let mut chunks = self.chunks.clone();
        let old = &chunks[index / CHUNK];
        let new = old.iter().enumerate().map(|(at, old)| match host.take_if(|_| at == index % CHUNK) {
            Some(host) => host,
            None => Arc::clone(old),
        });
        chunks[index / CHUNK] = new.collect();
        Self { chunks, length: self.length }
    }

    fn slot(&self, index: usize) -> &Arc<VirtualHost> {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl Index<usize> for Hosts {
    type Output = VirtualHost;

    fn index(&self, index: usize) -> &VirtualHost {
        self.slot(index)
    }
}

impl FromIterator<Arc<VirtualHost>> for Hosts {
    fn from_iter<I: IntoIterator<Item = Arc<VirtualHost>>>(hosts: I) -> Self {
        let mut hosts = hosts.into_iter();
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut length = 0;
        loop {
            let chunk: Chunk = hosts.by_ref().take(CHUNK).collect();
            length += chunk.len();
            let last = chunk.len() < CHUNK;
            if !chunk.is_empty() {
                chunks.push(chunk);
            }
            if last {
                return Self { chunks: chunks.into(), length };
            }
        }
    }
}

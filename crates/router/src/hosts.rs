use std::sync::Arc;

use crate::VirtualHost;

/// A router's virtual hosts, in configuration order. A list that differs in one of them shares the
/// rest, and costs little more than that one.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// None is empty, and none has more than [`CHUNK`].
    chunks: Vec<Chunk>,
}

type Chunk = Arc<[Arc<VirtualHost>]>;

/// Copying the list of chunks and copying one chunk of 10,000 hosts cost about the same.
const CHUNK: usize = 128;

impl Hosts {
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<VirtualHost>> {
        let (chunk, at) = self.place(index)?;
        self.chunks[chunk].get(at)
    }

    /// With another one at `index`, or after the last if there is none at `index`.
    pub(crate) fn with(&self, index: usize, host: Arc<VirtualHost>) -> Self {
        let mut hosts = self.clone();
        match (self.place(index), self.chunks.last()) {
            (Some((chunk, at)), _) => Arc::make_mut(&mut hosts.chunks[chunk])[at] = host,
            (None, Some(last)) if last.len() < CHUNK => {
                let longer = last.iter().cloned().chain([host]).collect();
                hosts.chunks.pop();
                hosts.chunks.push(longer);
            }
            _ => hosts.chunks.push([host].into()),
        }
        hosts
    }

    /// Without the one at `index`; those after it move up.
    pub(crate) fn without(&self, index: usize) -> Self {
        let mut hosts = self.clone();
        if let Some((chunk, at)) = self.place(index) {
            let others = self.chunks[chunk].iter().enumerate().filter(|&(other, _)| other != at);
            hosts.chunks[chunk] = others.map(|(_, host)| Arc::clone(host)).collect();
            hosts.chunks.retain(|chunk| !chunk.is_empty());
        }
        hosts
    }

    /// The chunk of the one at `index`, and where it is in there.
    fn place(&self, index: usize) -> Option<(usize, usize)> {
        let mut at = index;
        for (number, chunk) in self.chunks.iter().enumerate() {
            if at < chunk.len() {
                return Some((number, at));
            }
            at -= chunk.len();
        }
        None
    }
}

impl FromIterator<Arc<VirtualHost>> for Hosts {
    fn from_iter<I: IntoIterator<Item = Arc<VirtualHost>>>(hosts: I) -> Self {
        let hosts: Vec<_> = hosts.into_iter().collect();
        Self { chunks: hosts.chunks(CHUNK).map(Chunk::from).collect() }
    }
}

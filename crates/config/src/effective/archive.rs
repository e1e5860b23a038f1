use std::sync::Arc;

/// Many pieces of text, compressed a block at a time, to be read again one by one.
///
/// A configuration of 20 MB repeats itself so much that little over a tenth of it stays in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    blocks: Vec<Block>,
    /// The text of the block that is still growing.
    open: String,
    /// Where blocks are compressed to, before each is kept in just the memory it needs.
    scratch: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Block {
    compressed: Box<[u8]>,
    length: usize,
}

impl Block {
    fn text(&self) -> String {
        // What was compressed here from text is text again.
        let bytes = lz4_flex::block::decompress(&self.compressed, self.length).ok();
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// A text that is kept: one of many in an [`Archive`], or, if it came later, on its own.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Archived(Piece),
    Own(Arc<Block>),
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        let compressed = lz4_flex::block::compress(text.as_bytes()).into();
        Self::Own(Arc::new(Block { compressed, length: text.len() }))
    }

    /// Whether it is the very text that was kept as the other.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Archived(a), Self::Archived(b)) => a == b,
            (Self::Own(a), Self::Own(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A piece of text in an [`Archive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    block: u32,
    start: u32,
    length: u32,
}

/// Text that makes a block worth compressing.
const BLOCK: usize = 128 * 1024;

impl Archive {
    /// Keeps the text that `write` appends.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let start = self.open.len();
        write(&mut self.open);
        let length = self.open.len() - start;
        let piece = Piece { block: self.blocks.len() as u32, start: start as u32, length: length as u32 };
        if self.open.len() >= BLOCK {
            self.close();
        }
        Text::Archived(piece)
    }

    /// Compresses what is left; to be called after the last [`Archive::add`].
    pub(super) fn finish(&mut self) {
        self.close();
        self.open = String::new();
        self.scratch = Vec::new();
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let most = lz4_flex::block::get_maximum_output_size(self.open.len());
        self.scratch.resize(most.max(self.scratch.len()), 0);
        // There is room for the worst case, so that this cannot fail.
        let length = lz4_flex::block::compress_into(self.open.as_bytes(), &mut self.scratch).unwrap_or(0);
        let compressed = self.scratch.get(..length).unwrap_or_default().into();
        self.blocks.push(Block { compressed, length: self.open.len() });
        self.open.clear();
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { archive: self, block: None, text: String::new(), own: String::new() }
    }
}

/// Reads texts, best in the order in which they were added.
pub(super) struct Reader<'a> {
    archive: &'a Archive,
    block: Option<u32>,
    text: String,
    own: String,
}

impl Reader<'_> {
    pub(super) fn get(&mut self, text: &Text) -> &str {
        let piece = match text {
            Text::Archived(piece) => piece,
            Text::Own(block) => {
                self.own = block.text();
                return &self.own;
            }
        };
        if self.block != Some(piece.block) {
            self.block = Some(piece.block);
            self.text = match self.archive.blocks.get(piece.block as usize) {
                Some(block) => block.text(),
                None => self.archive.open.clone(),
            };
        }
        self.text.get(piece.start as usize..(piece.start + piece.length) as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_whichever_block_they_are_in() {
        let mut archive = Archive::default();
        let pieces: Vec<_> =
            (0..2000).map(|n| archive.add(|out| out.push_str(&format!("{n}:{}", "x".repeat(n))))).collect();
        archive.finish();
        assert!(archive.blocks.len() > 10);
        let kept: usize = archive.blocks.iter().map(|block| block.compressed.len()).sum();
        assert!(kept < 200_000, "{kept}");
        let mut reader = archive.reader();
        let own = Text::new("a text of its own");
        for (n, piece) in pieces.iter().enumerate().rev() {
            assert_eq!(reader.get(piece), format!("{n}:{}", "x".repeat(n)));
            assert_eq!(reader.get(&own), "a text of its own");
        }
        assert!(own.is(&own.clone()) && !own.is(&pieces[0]) && !own.is(&Text::new("a text of its own")));
    }
}

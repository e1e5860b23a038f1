//! The allocator; the one place in the workspace with unsafe code, because it speaks to C.
#![allow(unsafe_code, reason = "a function of the allocator that its Rust interface does not have")]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the system back what this thread has freed. By itself the allocator does so when it is next asked
/// for something large; in a process that has just read a large configuration, and now leaves the work to other
/// threads, that may be never, and nearly half of its memory would be what reading took.
pub(crate) fn give_back() {
    // SAFETY: takes no pointer, and may be called at any time; it visits this thread's own free pages.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_was_freed_goes_back_to_the_system() {
        let pieces: Vec<Box<[u8; 512]>> = (0..100_000).map(|n| Box::new([n as u8; 512])).collect();
        black_box(&pieces);
        let full = resident();
        drop(pieces);
        super::give_back();
        let empty = resident();
        assert!(empty + (25 << 20) < full, "{full} bytes before, {empty} after");
    }
}

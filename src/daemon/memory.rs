//! Memory that is free and that the process still has.

// It is what allocates in the program (`main.rs`), and has nothing to give back elsewhere.
use mimalloc as _;

/// Gives everything back to the system that no thread has in use. The allocator keeps what was
/// freed for a second, and looks at it again only when it needs memory: after a reload it would
/// stay with the process until the next one.
///
/// It takes some milliseconds for each hundred megabytes, and the next one to allocate as much
/// takes longer.
#[expect(
    unsafe_code,
    reason = "no safe call has the allocator give memory back"
)]
pub(super) fn give_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: declared as in mimalloc.h. It takes no memory that is in use: of the calling thread's
    // it frees what has no live block, and of all others' what they have given up. Any thread may
    // call it at any time.
    unsafe { mi_collect(true) }
}

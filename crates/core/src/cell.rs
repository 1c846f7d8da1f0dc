//! Cells of shared rows: integers that other CPUs and the daemon read and write at the same time.
//!
//! Loads and stores are relaxed: nothing here publishes other memory by them. Where an order matters it comes from the map
//! operation that makes a row findable, or from [`crate::tables::Tables::swap`].
//!
//! Natively these are atomics. For the BPF target rustc has none of 32 bits, and LLVM cannot select an atomic load of 64; a
//! plain [`core::cell::Cell`] compiles to the one load or store instruction that is wanted. Rows are not `Sync` there; the
//! maps that hold them say why they may be shared.

macro_rules! cell {
    ($(#[$doc:meta])* $name:ident, $int:ty, $atomic:ty) => {
        $(#[$doc])*
        #[cfg(not(target_arch = "bpf"))]
        #[derive(zerocopy::FromZeros)]
        #[repr(transparent)]
        pub struct $name($atomic);

        $(#[$doc])*
        #[cfg(target_arch = "bpf")]
        #[repr(transparent)]
        pub struct $name(core::cell::Cell<$int>);

        #[cfg(not(target_arch = "bpf"))]
        impl $name {
            /// What it holds.
            pub fn load(&self) -> $int {
                self.0.load(core::sync::atomic::Ordering::Relaxed)
            }

            /// Replaces what it holds.
            pub fn store(&self, value: $int) {
                self.0.store(value, core::sync::atomic::Ordering::Relaxed);
            }

            /// The atomic.
            pub fn atomic(&self) -> &$atomic {
                &self.0
            }
        }

        #[cfg(target_arch = "bpf")]
        impl $name {
            /// What it holds.
            #[inline(always)]
            pub fn load(&self) -> $int {
                self.0.get()
            }

            /// Replaces what it holds.
            #[inline(always)]
            pub fn store(&self, value: $int) {
                self.0.set(value);
            }

            /// Where it stands, for the compare-and-swap and the addition of a home.
            #[inline(always)]
            pub fn as_ptr(&self) -> *mut $int {
                self.0.as_ptr()
            }
        }
    };
}

cell! {
    /// 32 bits, in the native byte order.
    Cell32, u32, core::sync::atomic::AtomicU32
}

cell! {
    /// 64 bits, in the native byte order.
    Cell64, u64, core::sync::atomic::AtomicU64
}

#[cfg(not(target_arch = "bpf"))]
impl Cell64 {
    /// If the cell holds `expected`, it holds `new` afterwards. Returns what it held.
    pub fn swap_if(&self, expected: u64, new: u64) -> u64 {
        use core::sync::atomic::Ordering::SeqCst;
        self.atomic().compare_exchange(expected, new, SeqCst, SeqCst).unwrap_or_else(|seen| seen)
    }

    /// Adds `delta`, wrapping.
    pub fn add(&self, delta: u64) {
        self.atomic().fetch_add(delta, core::sync::atomic::Ordering::SeqCst);
    }
}

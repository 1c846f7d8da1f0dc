//! Indexes that the verifier can see to be in bounds.

/// `index`, reduced to less than `N`, a power of two.
///
/// Where the compiler can prove that an index is in bounds, it removes the mask that says so, and verifiers of older kernels
/// (seen on 6.1) then cannot follow the proof and refuse the access. So the mask is applied to a value of which the compiler
/// knows nothing.
#[inline(always)]
pub fn index<const N: usize>(index: usize) -> usize {
    const { assert!(N.is_power_of_two()) };
    core::hint::black_box(index) & (N - 1)
}

//! HyperLogLog: how many different elements were seen, from 16 384 registers of 6 bits, kept in a string as Redis keeps it.
//!
//! ```text
//! 'H' 'Y' 'L' 'L' │ encoding u8 │ 3 unused │ cardinality u64 LE │ registers
//!                                            └ its top bit set: to be computed anew
//!
//! encoding 0, dense     12 288 bytes, 6 bits a register, low bits first               dense.rs
//! encoding 1, sparse    runs of registers that are alike                              sparse.rs
//! ```
//!
//! A hash of an element names a register, and the register keeps the longest run of zeros seen at the end of what is left of
//! such hashes. A sparse one becomes dense when it would be longer than `hll-sparse-max-bytes`, or a run longer than 32.
//!
//! The bytes are the interface: clients read them with GET and give them to another server.
//! Source: Redis's documentation of PFADD and PFCOUNT and the bytes its server answers, with which the tests compare; the
//! estimate is Ertl's, *New cardinality estimation algorithms for HyperLogLog sketches*, 2017.

mod dense;
mod estimate;
mod sparse;

use std::borrow::Cow;

/// Registers, and the bits of a hash that name one.
const REGISTERS: usize = 1 << REGISTER_BITS;
const REGISTER_BITS: u32 = 14;
/// Bits of a hash that are left for a run of zeros.
const RUN_BITS: u32 = 64 - REGISTER_BITS;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
/// Where the cardinality stands, and its last byte with the bit that says it is stale.
pub(crate) const CARDINALITY_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
const HEADER_BYTES: usize = 16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;

/// The runs don't cover all registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Every register in a byte.
pub(crate) type Registers = Box<[u8; REGISTERS]>;

/// The bytes of a string that is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hll<'a>(&'a [u8]);

impl<'a> Hll<'a> {
    /// What the bytes of a string are, if its header says so.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Hll<'a>> {
        let encoding = *bytes.get(ENCODING_AT)?;
        let has_length = match encoding {
            DENSE => bytes.len() == DENSE_BYTES,
            SPARSE => bytes.len() >= HEADER_BYTES,
            _ => false,
        };
        (bytes.starts_with(MAGIC) && has_length).then_some(Hll(bytes))
    }

    pub(crate) fn is_dense(self) -> bool {
        self.0[ENCODING_AT] == DENSE
    }

    /// The cardinality that was computed last, if nothing was added since.
    pub(crate) fn known_cardinality(self) -> Option<u64> {
        let bytes = self.0[CARDINALITY_AT..HEADER_BYTES].try_into().expect("a header is whole");
        (self.0[STALE_AT] & STALE == 0).then_some(u64::from_le_bytes(bytes))
    }

    /// The cardinality, computed.
    pub(crate) fn cardinality(self) -> Result<u64, Damaged> {
        Ok(estimate::cardinality(&self.registers()?))
    }

    /// Every register.
    pub(crate) fn registers(self) -> Result<Registers, Damaged> {
        let mut registers = none();
        self.merge_into(&mut registers)?;
        Ok(registers)
    }

    /// Raises registers to those here.
    pub(crate) fn merge_into(self, registers: &mut Registers) -> Result<(), Damaged> {
        let body = &self.0[HEADER_BYTES..];
        if self.is_dense() {
            for (index, register) in registers.iter_mut().enumerate() {
                *register = dense::register(body, index).max(*register);
            }
            return Ok(());
        }
        sparse::each_run(body, |from, run, value| {
            registers[from..from + run].iter_mut().for_each(|register| *register = value.max(*register));
        })
    }

    /// The runs of a sparse one as PFDEBUG shows them.
    pub(crate) fn runs(self) -> Option<Result<String, Damaged>> {
        (!self.is_dense()).then(|| sparse::show(&self.0[HEADER_BYTES..]))
    }
}

/// One that is being changed: the bytes of the string, a copy of them from the first change on.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    bytes: Cow<'a, [u8]>,
    sparse_bytes_max: u64,
    /// The registers of a sparse one: there is no other way to find one than to walk along the runs.
    registers: Option<Registers>,
}

impl<'a> Edit<'a> {
    /// An empty one.
    pub(crate) fn empty(sparse_bytes_max: u64) -> Edit<'a> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 8);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[SPARSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        sparse::write_zeros(&mut bytes, REGISTERS);
        Edit { bytes: Cow::Owned(bytes), sparse_bytes_max, registers: None }
    }

    pub(crate) fn of(hll: Hll<'a>, sparse_bytes_max: u64) -> Edit<'a> {
        Edit { bytes: Cow::Borrowed(hll.0), sparse_bytes_max, registers: None }
    }

    /// Adds an element; whether that raised a register.
    pub(crate) fn add(&mut self, element: &[u8]) -> Result<bool, Damaged> {
        let hash = murmur(element);
        let index = hash as usize % REGISTERS;
        // A bit behind the others ends the longest run.
        let run = (hash >> REGISTER_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
        self.raise(index, run as u8)
    }

    /// Raises one register to `value`, if it is below; whether it was.
    pub(crate) fn raise(&mut self, index: usize, value: u8) -> Result<bool, Damaged> {
        if self.is_dense() {
            if dense::register(&self.bytes[HEADER_BYTES..], index) >= value {
                return Ok(false);
            }
            dense::set(&mut self.bytes.to_mut()[HEADER_BYTES..], index, value);
            return Ok(true);
        }
        let registers = match &mut self.registers {
            Some(registers) => registers,
            none => none.insert(Hll(&self.bytes).registers()?),
        };
        if registers[index] >= value {
            return Ok(false);
        }
        registers[index] = value;
        let max = usize::try_from(self.sparse_bytes_max).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES);
        match sparse::set(&self.bytes[HEADER_BYTES..], index, value, max)? {
            Some(edit) => edit.apply(self.bytes.to_mut(), HEADER_BYTES),
            // The register is among those that are packed.
            None => self.make_dense()?,
        }
        Ok(true)
    }

    pub(crate) fn is_dense(&self) -> bool {
        self.bytes[ENCODING_AT] == DENSE
    }

    /// Keeps every register in 6 bits from now on.
    pub(crate) fn make_dense(&mut self) -> Result<(), Damaged> {
        if !self.is_dense() {
            let registers = match self.registers.take() {
                Some(registers) => registers,
                None => Hll(&self.bytes).registers()?,
            };
            self.bytes.to_mut()[ENCODING_AT] = DENSE;
            self.replace(&registers);
        }
        Ok(())
    }

    /// Sets every register of a dense one.
    pub(crate) fn replace(&mut self, registers: &Registers) {
        debug_assert!(self.is_dense());
        let bytes = self.bytes.to_mut();
        bytes.truncate(HEADER_BYTES);
        bytes.resize(DENSE_BYTES, 0);
        for (index, &value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
            dense::set(&mut bytes[HEADER_BYTES..], index, value);
        }
    }

    /// Notes that the cardinality is to be computed anew.
    pub(crate) fn forget_cardinality(&mut self) {
        if self.bytes[STALE_AT] & STALE == 0 {
            self.bytes.to_mut()[STALE_AT] |= STALE;
        }
    }

    /// The new bytes; `None`: nothing was changed.
    pub(crate) fn into_changed(self) -> Option<Vec<u8>> {
        match self.bytes {
            Cow::Owned(bytes) => Some(bytes),
            Cow::Borrowed(_) => None,
        }
    }
}

/// Registers of nothing.
pub(crate) fn none() -> Registers {
    Box::new([0; REGISTERS])
}

/// The estimate for registers that belong to no string.
pub(crate) fn cardinality(registers: &Registers) -> u64 {
    estimate::cardinality(registers)
}

/// MurmurHash2 of 64 bits with Redis's seed. Source: Appleby's MurmurHash64A, read as little endian.
fn murmur(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mix = |word: u64| {
        let word = word.wrapping_mul(MULTIPLIER);
        (word ^ word >> 47).wrapping_mul(MULTIPLIER)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a client would do who had all registers.
    fn model(elements: &[Vec<u8>]) -> Registers {
        let mut registers = none();
        for element in elements {
            let hash = murmur(element);
            let run = ((hash >> 14) | 1 << 50).trailing_zeros() as u8 + 1;
            let register = &mut registers[(hash & 0x3fff) as usize];
            *register = run.max(*register);
        }
        registers
    }

    fn bytes_of(elements: &[Vec<u8>], sparse_bytes_max: u64) -> Vec<u8> {
        let mut edit = Edit::empty(sparse_bytes_max);
        for element in elements {
            edit.add(element).unwrap();
        }
        edit.into_changed().unwrap()
    }

    #[test]
    fn the_estimate_is_within_its_error() {
        let elements: Vec<Vec<u8>> = (0..100_000u32).map(|number| number.to_string().into_bytes()).collect();
        for count in [1, 10, 100, 1_000, 10_000, 100_000] {
            let bytes = bytes_of(&elements[..count], 3_000);
            let estimate = Hll::of(&bytes).unwrap().cardinality().unwrap() as f64;
            let error = (estimate / count as f64 - 1.0).abs();
            assert!(error < 0.03, "{estimate} for {count}");
        }
    }

    #[test]
    fn a_run_too_long_for_the_sparse_form_makes_it_dense() {
        let mut edit = Edit::empty(3_000);
        assert_eq!(edit.raise(5, 32), Ok(true));
        assert!(!edit.is_dense());
        assert_eq!(edit.raise(5, 33), Ok(true));
        assert!(edit.is_dense());
        assert_eq!(edit.raise(5, 33), Ok(false));
        let bytes = edit.into_changed().unwrap();
        assert_eq!(Hll::of(&bytes).unwrap().registers().unwrap()[5], 33);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_forms_keep_the_registers(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..400),
            max in prop_oneof![Just(0u64), Just(100), Just(500), Just(3_000)],
        ) {
            let bytes = bytes_of(&elements, max);
            let hll = Hll::of(&bytes).unwrap();
            prop_assert!(hll.is_dense() || bytes.len() as u64 <= max || max < 18);
            prop_assert_eq!(hll.registers().unwrap(), model(&elements));
        }

        #[test]
        fn any_bytes_are_refused_or_read(
            body in prop::collection::vec(any::<u8>(), 0..40),
            adds in prop::collection::vec((0usize..REGISTERS, 1u8..52), 1..4),
        ) {
            let mut bytes = Edit::empty(0).into_changed().unwrap();
            bytes.truncate(HEADER_BYTES);
            bytes.extend_from_slice(&body);
            let hll = Hll::of(&bytes).unwrap();
            let _ = (hll.cardinality(), hll.runs());
            let mut edit = Edit::of(hll, 3_000);
            for (index, value) in adds {
                if edit.raise(index, value).is_err() {
                    break;
                }
            }
        }
    }
}

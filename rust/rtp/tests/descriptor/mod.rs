//! An encoder of dependency descriptors (AV1 RTP specification, A.8), for tests.
#![allow(dead_code, reason = "each test uses another part")]

/// Bits, the first one highest.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    pub bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    pub fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let at = self.len;
            self.bytes[at / 8] |= ((value >> bit & 1) as u8) << (7 - at % 8);
            self.len += 1;
        }
    }

    /// A number below `limit` in as few bits as it can have.
    pub fn put_below(&mut self, value: u32, limit: u32) {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        if value < short {
            self.put(value, width - 1);
        } else {
            self.put(value + short, width);
        }
    }
}

/// What a frame, or a template, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub spatial: u8,
    pub temporal: u8,
    /// Two bits for each decode target.
    pub indications: Vec<u8>,
    /// Distances to the frames referred to.
    pub references: Vec<u16>,
    /// For each chain the distance to its last frame.
    pub chains: Vec<u8>,
}

/// The structure that a key frame brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestStructure {
    pub template_offset: u8,
    /// Ordered by spatial, then by temporal layer.
    pub templates: Vec<Frame>,
    /// The chain of each decode target; empty: no chains.
    pub protected_by: Vec<u8>,
    /// Width and height of each spatial layer; empty: not told.
    pub sizes: Vec<(u16, u16)>,
}

impl TestStructure {
    pub fn targets(&self) -> usize {
        self.templates[0].indications.len()
    }

    fn chains(&self) -> u32 {
        self.protected_by.iter().max().map_or(0, |&c| c + 1).into()
    }

    pub fn write(&self, bits: &mut Bits) {
        let targets = self.targets() as u32;
        bits.put(self.template_offset.into(), 6);
        bits.put(targets - 1, 5);
        for pair in self.templates.windows(2) {
            let up = pair[1].spatial > pair[0].spatial;
            let step = u32::from(pair[1].temporal > pair[0].temporal);
            bits.put(if up { 2 } else { step }, 2);
        }
        bits.put(3, 2);
        for template in &self.templates {
            for &indication in &template.indications {
                bits.put(indication.into(), 2);
            }
        }
        for template in &self.templates {
            for &reference in &template.references {
                bits.put(1, 1);
                bits.put(u32::from(reference) - 1, 4);
            }
            bits.put(0, 1);
        }
        let chains = self.chains();
        bits.put_below(chains, targets + 1);
        if chains > 0 {
            for &chain in &self.protected_by {
                bits.put_below(chain.into(), chains);
            }
            for template in &self.templates {
                for &distance in &template.chains {
                    bits.put(distance.into(), 4);
                }
            }
        }
        bits.put(u32::from(!self.sizes.is_empty()), 1);
        for &(width, height) in &self.sizes {
            bits.put(u32::from(width) - 1, 16);
            bits.put(u32::from(height) - 1, 16);
        }
    }
}

/// One descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestDescriptor {
    pub start: bool,
    pub end: bool,
    pub template: u8,
    pub frame_number: u16,
    pub structure: Option<TestStructure>,
    /// The bitmask of active decode targets and its width.
    pub active: Option<(u32, u32)>,
    /// Own values instead of the template's; layers are not told again.
    pub own: Option<Frame>,
}

impl TestDescriptor {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(self.start.into(), 1);
        bits.put(self.end.into(), 1);
        bits.put(self.template.into(), 6);
        bits.put(self.frame_number.into(), 16);
        if self.structure.is_none() && self.active.is_none() && self.own.is_none() {
            return bits.bytes;
        }
        bits.put(self.structure.is_some().into(), 1);
        bits.put(self.active.is_some().into(), 1);
        bits.put(if self.own.is_some() { 7 } else { 0 }, 3);
        if let Some(structure) = &self.structure {
            structure.write(&mut bits);
        }
        if let Some((active, width)) = self.active {
            bits.put(active, width);
        }
        if let Some(own) = &self.own {
            for &indication in &own.indications {
                bits.put(indication.into(), 2);
            }
            for &reference in &own.references {
                let distance = u32::from(reference) - 1;
                let size = 1 + u32::from(distance > 0xf) + u32::from(distance > 0xff);
                bits.put(size, 2);
                bits.put(distance, 4 * size);
            }
            bits.put(0, 2);
            for &distance in &own.chains {
                bits.put(distance.into(), 8);
            }
        }
        bits.bytes
    }
}

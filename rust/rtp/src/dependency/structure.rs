//! The template dependency structure that a key frame brings (A.8.3).

use super::bits::BitReader;
use super::{Dependencies, DescriptorError, MAX_CHAINS, MAX_TARGETS};

const MAX_TEMPLATES: usize = 64;

/// A decode target: what a receiver of some layers decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeTarget {
    /// Its highest spatial layer.
    pub spatial: u8,
    /// Its highest temporal layer.
    pub temporal: u8,
    /// The chain that protects it.
    pub chain: Option<u8>,
}

/// The templates and decode targets of a coded video sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    template_offset: u8,
    template_count: u8,
    templates: [Dependencies; MAX_TEMPLATES],
    target_count: u8,
    targets: [DecodeTarget; MAX_TARGETS],
    chains: u8,
}

impl Structure {
    pub(super) fn parse(bits: &mut BitReader<'_>) -> Result<Self, DescriptorError> {
        let template_offset = bits.read(6)? as u8;
        let target_count = bits.read(5)? as u8 + 1;
        let mut structure = Self {
            template_offset,
            template_count: 0,
            templates: [Dependencies::default(); MAX_TEMPLATES],
            target_count,
            targets: [DecodeTarget::default(); MAX_TARGETS],
            chains: 0,
        };
        structure.read_layers(bits)?;
        for template in structure.used_templates() {
            template.indications = indications(bits, target_count)?;
        }
        for template in structure.used_templates() {
            let mut slots = template.references.iter_mut();
            while bits.flag()? {
                let distance = bits.read(4)? as u16 + 1;
                if let Some(slot) = slots.next() {
                    *slot = distance;
                }
            }
        }
        structure.read_chains(bits)?;
        structure.find_target_layers();
        if bits.flag()? {
            let spatial_layers = structure.templates().iter().map(|t| t.spatial).max();
            for _ in 0..=spatial_layers.unwrap_or(0) {
                bits.read(32)?;
            }
        }
        Ok(structure)
    }

    /// The decode targets, by index.
    pub fn targets(&self) -> &[DecodeTarget] {
        &self.targets[..usize::from(self.target_count)]
    }

    /// The bitmask of all targets.
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_TARGETS - self.targets().len())
    }

    /// Number of chains that are followed.
    pub fn chains(&self) -> u8 {
        let followed = usize::from(self.chains) <= MAX_CHAINS;
        if followed { self.chains } else { 0 }
    }

    /// Number of chains that frames tell about.
    pub(super) fn declared_chains(&self) -> u8 {
        self.chains
    }

    /// The template with the id that a frame names.
    pub(super) fn template(&self, id: u8) -> Result<&Dependencies, DescriptorError> {
        let index = id.wrapping_sub(self.template_offset) & 0x3f;
        self.templates()
            .get(usize::from(index))
            .ok_or(DescriptorError::UnknownTemplate(id))
    }

    fn templates(&self) -> &[Dependencies] {
        &self.templates[..usize::from(self.template_count)]
    }

    fn used_templates(&mut self) -> impl Iterator<Item = &mut Dependencies> {
        self.templates[..usize::from(self.template_count)].iter_mut()
    }

    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Result<(), DescriptorError> {
        let (mut spatial, mut temporal) = (0, 0);
        for template in &mut self.templates {
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count += 1;
            match bits.read(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Ok(()),
            }
        }
        Err(DescriptorError::TooManyTemplates)
    }

    fn read_chains(&mut self, bits: &mut BitReader<'_>) -> Result<(), DescriptorError> {
        self.chains = bits.below(u32::from(self.target_count) + 1)? as u8;
        if self.chains == 0 {
            return Ok(());
        }
        let (chains, followed) = (self.chains, self.chains());
        for target in &mut self.targets[..usize::from(self.target_count)] {
            let chain = bits.below(u32::from(chains))? as u8;
            target.chain = (chain < followed).then_some(chain);
        }
        for template in self.used_templates() {
            for chain in 0..chains {
                let distance = bits.read(4)? as u8;
                if let Some(slot) = template.chains.get_mut(usize::from(chain)) {
                    *slot = distance;
                }
            }
        }
        Ok(())
    }

    /// A target has the highest layers of the frames that belong to it.
    fn find_target_layers(&mut self) {
        let templates = &self.templates[..usize::from(self.template_count)];
        let targets = &mut self.targets[..usize::from(self.target_count)];
        for (index, target) in (0..).zip(targets) {
            let frames = || templates.iter().filter(|t| t.is_present(index));
            target.spatial = frames().map(|t| t.spatial).max().unwrap_or(0);
            target.temporal = frames().map(|t| t.temporal).max().unwrap_or(0);
        }
    }
}

/// Two bits for each target, the first one lowest.
pub(super) fn indications(bits: &mut BitReader<'_>, targets: u8) -> Result<u64, DescriptorError> {
    let mut indications = 0;
    for target in 0..targets {
        indications |= u64::from(bits.read(2)?) << (2 * u32::from(target));
    }
    Ok(indications)
}

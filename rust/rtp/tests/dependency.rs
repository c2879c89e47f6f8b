//! The dependency descriptor: what is written is read, rewriting changes only what it should, and
//! no bytes do harm.

mod descriptor;

use descriptor::{Frame, TestDescriptor, TestStructure};
use lkpy_rtp::dependency::{
    Descriptor, DescriptorError, MAX_CHAINS, MAX_REFERENCES, Structure, rewrite,
};
use proptest::prelude::*;

fn frame(
    targets: usize,
    chains: usize,
    longest: u16,
    distance: u8,
) -> impl Strategy<Value = Frame> {
    let indications = prop::collection::vec(0u8..4, targets);
    let references = prop::collection::vec(1..=longest, 0..4);
    let chains = prop::collection::vec(0..=distance, chains);
    (indications, references, chains).prop_map(|(indications, references, chains)| Frame {
        indications,
        references,
        chains,
        ..Frame::default()
    })
}

fn structures() -> impl Strategy<Value = TestStructure> {
    let shape = (1usize..=4, 1usize..=3, 1usize..=32, 0usize..=10);
    shape.prop_flat_map(|(spatial, temporal, targets, chains)| {
        let chains = chains.min(targets);
        let templates = prop::collection::vec(frame(targets, chains, 16, 15), spatial * temporal);
        let sizes = prop::collection::vec((1u16.., 1u16..), spatial);
        let sizes = prop_oneof![Just(Vec::new()), sizes];
        (0u8..64, templates, sizes).prop_map(move |(template_offset, mut templates, sizes)| {
            for (index, template) in templates.iter_mut().enumerate() {
                template.spatial = (index / temporal) as u8;
                template.temporal = (index % temporal) as u8;
            }
            // Every chain protects something, so that there are as many as it looks.
            let protected_by = |target: usize| (target % chains) as u8;
            TestStructure {
                template_offset,
                templates,
                protected_by: match chains {
                    0 => Vec::new(),
                    _ => (0..targets).map(protected_by).collect(),
                },
                sizes,
            }
        })
    })
}

/// A structure, and a descriptor that follows it.
fn streams() -> impl Strategy<Value = (TestStructure, TestDescriptor)> {
    structures().prop_flat_map(|structure| {
        let (targets, chains) = (structure.targets(), structure.templates[0].chains.len());
        let own = prop::option::of(frame(targets, chains, 4096, 255));
        let active = prop::option::of(any::<u32>());
        let template = 0..structure.templates.len() as u8;
        let fields = (any::<(bool, bool, bool, u16)>(), template, own, active);
        fields.prop_map(
            move |((start, end, attached, frame_number), template, own, active)| {
                let width = targets as u32;
                let descriptor = TestDescriptor {
                    start,
                    end,
                    template: (template + structure.template_offset) & 0x3f,
                    frame_number,
                    structure: attached.then(|| structure.clone()),
                    active: active.map(|mask| (mask & (u32::MAX >> (32 - width)), width)),
                    own,
                };
                (structure.clone(), descriptor)
            },
        )
    })
}

/// `structure` as the parser gives it.
fn parsed(structure: &TestStructure) -> Structure {
    let first = TestDescriptor {
        start: true,
        template: structure.template_offset,
        structure: Some(structure.clone()),
        ..TestDescriptor::default()
    };
    let (_, attached) = Descriptor::parse(&first.to_bytes(), None).expect("it is valid");
    attached.expect("it has a structure")
}

fn padded<const N: usize>(values: impl Iterator<Item = u16>) -> [u16; N] {
    let mut padded = [0; N];
    for (slot, value) in padded.iter_mut().zip(values) {
        *slot = value;
    }
    padded
}

proptest! {
    #[test]
    fn what_is_written_is_read((structure, written) in streams()) {
        let known = parsed(&structure);
        let (read, attached) = Descriptor::parse(&written.to_bytes(), Some(&known)).unwrap();
        prop_assert_eq!(
            (read.start, read.end, read.frame_number),
            (written.start, written.end, written.frame_number)
        );
        let index = written.template.wrapping_sub(structure.template_offset) & 0x3f;
        let template = &structure.templates[usize::from(index)];
        let expected = written.own.as_ref().unwrap_or(template);
        let found = read.dependencies;
        prop_assert_eq!((found.spatial, found.temporal), (template.spatial, template.temporal));
        for (target, &indication) in (0..).zip(&expected.indications) {
            prop_assert_eq!(found.is_present(target), indication != 0);
        }
        let references = expected.references.iter().copied();
        prop_assert_eq!(found.references, padded::<MAX_REFERENCES>(references));
        let chains = padded::<MAX_CHAINS>(expected.chains.iter().map(|&c| c.into()));
        prop_assert_eq!(found.chains.map(u16::from), chains);
        let all = written.structure.is_some().then(|| known.all_targets());
        prop_assert_eq!(read.active_targets, written.active.map(|(mask, _)| mask).or(all));
        prop_assert_eq!(attached, written.structure.map(|_| known));
    }

    #[test]
    fn a_structure_tells_its_targets(structure in structures()) {
        let known = parsed(&structure);
        prop_assert_eq!(known.targets().len(), structure.targets());
        let chains = structure.templates[0].chains.len();
        let followed = if chains <= MAX_CHAINS { chains } else { 0 };
        prop_assert_eq!(usize::from(known.chains()), followed);
        for (index, target) in known.targets().iter().enumerate() {
            let of_it = || structure.templates.iter().filter(|t| t.indications[index] != 0);
            prop_assert_eq!(target.spatial, of_it().map(|t| t.spatial).max().unwrap_or(0));
            prop_assert_eq!(target.temporal, of_it().map(|t| t.temporal).max().unwrap_or(0));
            let chain = structure.protected_by.get(index).copied();
            prop_assert_eq!(target.chain, chain.filter(|&c| usize::from(c) < followed));
        }
    }

    #[test]
    fn rewriting_changes_the_frame_number_and_the_active_targets(
        (structure, written) in streams(), frame_number: u16, mask: u32,
    ) {
        let known = parsed(&structure);
        let active = mask & known.all_targets();
        let bytes = written.to_bytes();
        let (before, _) = Descriptor::parse(&bytes, Some(&known)).unwrap();
        let mut out = [0xff; 512];
        let len = rewrite(&bytes, &before.layout, frame_number, active, &mut out).unwrap();
        prop_assert!(len <= bytes.len() + 5);
        let (after, _) = Descriptor::parse(&out[..len], Some(&known)).unwrap();
        let layout = after.layout;
        let expected = Descriptor { frame_number, active_targets: Some(active), layout, ..before };
        prop_assert_eq!(after, expected);
        let expected = TestDescriptor {
            frame_number,
            active: Some((active, structure.targets() as u32)),
            ..written
        };
        let expected = expected.to_bytes();
        // The encoder ends where the fields do.
        prop_assert_eq!(&out[..len], &expected[..]);
        prop_assert_eq!(rewrite(&bytes, &before.layout, 0, 0, &mut out[..len - 1]), None);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, (structure, written) in streams(), cut: usize) {
        let known = parsed(&structure);
        let mut out = [0; 600];
        let whole = written.to_bytes();
        let cut = &whole[..cut % (whole.len() + 1)];
        for value in [&bytes[..], cut] {
            for known in [None, Some(&known)] {
                if let Ok((descriptor, _)) = Descriptor::parse(value, known) {
                    prop_assert!(rewrite(value, &descriptor.layout, 1, 1, &mut out).is_some());
                    // Nor a layout of another descriptor.
                    rewrite(cut, &descriptor.layout, 1, 1, &mut out);
                    rewrite(&bytes, &descriptor.layout, 1, 1, &mut out);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_used_is_told() {
    let mandatory = [0x80, 0, 1];
    let parse = |value, known: Option<&Structure>| {
        Descriptor::parse(value, known).expect_err("it is not valid")
    };
    assert_eq!(parse(&[0x80, 0], None), DescriptorError::Truncated);
    assert_eq!(parse(&mandatory, None), DescriptorError::NoStructure);
    let structure = TestStructure {
        templates: vec![Frame {
            indications: vec![2],
            ..Frame::default()
        }],
        ..TestStructure::default()
    };
    let known = parsed(&structure);
    let unknown = [0x85, 0, 1];
    let error = DescriptorError::UnknownTemplate(5);
    assert_eq!(parse(&unknown, Some(&known)), error);
    // 64 templates on one layer and no end.
    let mut endless = vec![0x80, 0, 1, 0x80];
    endless.resize(60, 0);
    let error = DescriptorError::TooManyTemplates;
    assert_eq!(parse(&endless, None), error);
}

//! @NAME@: picks the endpoint with the highest total, the first of equals.

mod abi;
mod plugin;
#[cfg(test)]
mod testing;

use abi::epp_value;
use plugin::*;

struct @CLASS@ {
    max_picks: usize,
}

impl Plugin for @CLASS@ {
    fn create(params: &[epp_value]) -> Result<Self, Failure> {
        // The host has checked type and range.
        let max_picks = unsafe { params[0].v.i64_ } as usize;
        Ok(@CLASS@ { max_picks })
    }
}

impl Picker for @CLASS@ {
    fn pick(&self, _candidates: &Candidates, totals: &[f64]) -> Result<Vec<u32>, Failure> {
        let mut order: Vec<u32> = (0..totals.len() as u32).collect();
        // Stable: of equals the first stays first. Totals are finite.
        order.sort_by(|a, b| {
            let (a, b) = (totals[*a as usize], totals[*b as usize]);
            b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
        });
        order.truncate(self.max_picks);
        Ok(order)
    }
}

library! {
    library: "@NAME@",
    type_name: "@NAME@",
    doc: "@DOC@",
    plugin: @CLASS@,
    params: [int(c!("maxPicks"), 1, 1.0, 1000.0, c!("endpoints named, best first"))],
    consumes: [],
    interfaces: [(EPP_PICKER_ID, epp_picker, picker_table::<@CLASS@>())],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn pick_of(max_picks: i64, totals: &[f64]) -> Vec<u32> {
        let picker = @CLASS@::create(&[i64_param(max_picks)]).ok().unwrap();
        with(totals.len(), &[], |candidates| {
            picker.pick(candidates, totals).ok().unwrap()
        })
    }

    #[test]
    fn picks_the_best() {
        assert_eq!(pick_of(1, &[0.1, 0.9, 0.5]), [1]);
        assert_eq!(pick_of(1, &[0.1, 0.9, 0.9]), [1]);
    }

    #[test]
    fn fallbacks_follow_best_first() {
        assert_eq!(pick_of(10, &[0.3, 0.1, 0.4, 0.3]), [2, 0, 3, 1]);
    }
}

package route

import (
	"context"
	"fmt"
	"time"

	"syncline"
	"syncline/internal/store"
)

const defaultParkedExpiry = 7 * 24 * time.Hour

// reroute tries the parked deliveries of an integration again, in the order
// of their receipt.
func (r *Router) reroute(ctx context.Context, k integrationKey) error {
	var parked []syncline.DeliveryState
	err := r.Store.View(ctx, func(v store.Reader) (err error) {
		parked, err = v.Parked(k.env, k.id, parkedPage)
		return err
	})
	if err != nil {
		return err
	}
	for len(parked) > 0 {
		part := parked[:min(batch, len(parked))]
		parked = parked[len(part):]
		positions := make([]int64, len(part))
		for i := range part {
			positions[i] = part[i].Position
		}
		raw, err := r.read(ctx, map[int64][]int64{k.env: positions})
		if err != nil {
			return err
		}
		events := 0
		err = r.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			w := r.newWork(tx)
			for _, p := range positions {
				state, err := tx.DeliveryState(k.env, p)
				if err != nil {
					return err
				}
				d := raw[p]
				if state.Status != syncline.DeliveryParked || d == nil {
					continue
				}
				state.UpdatedAt = w.now
				// It is handled later than others of its time: guarded like a replay.
				if err := w.decide(d, &state, 1); err != nil {
					return err
				}
			}
			events = w.events
			return nil
		})
		if err != nil {
			return err
		}
		if events > 0 {
			r.Wake()
		}
	}
	return nil
}

// expire ends the parked deliveries that waited for too long.
func (r *Router) expire(ctx context.Context, now time.Time) error {
	wait := r.ParkedExpiry
	if wait == 0 {
		wait = defaultParkedExpiry
	}
	var old []syncline.DeliveryState
	err := r.Store.View(ctx, func(v store.Reader) error {
		environments, err := v.Environments()
		if err != nil {
			return err
		}
		for _, e := range environments {
			integrations, err := v.Integrations(e.ID)
			if err != nil {
				return err
			}
			for _, i := range integrations {
				parked, err := v.Parked(e.ID, i.ID, batch)
				if err != nil {
					return err
				}
				for _, p := range parked {
					if now.Sub(p.ReceivedAt) > wait {
						old = append(old, p)
					}
				}
			}
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return r.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		for _, s := range old {
			state, err := tx.DeliveryState(s.EnvironmentID, s.Position)
			if err != nil {
				return err
			}
			if state.Status != syncline.DeliveryParked {
				continue
			}
			state.Status, state.UpdatedAt = syncline.DeliveryExpired, now
			state.Reason = fmt.Sprintf("parked for %s: %s", wait, state.Reason)
			if err := tx.PutDeliveryState(&state); err != nil {
				return err
			}
		}
		return nil
	})
}

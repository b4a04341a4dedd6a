package vault

import (
	"context"
	"errors"
)

// Duty does what is due: it leads changes of passwords on, has missing repositories made, and keeps account of how they grow. Any number of replicas may
// do it at once: each step locks its setting and looks again.
func (s *Store) Duty(ctx context.Context) error {
	return errors.Join(s.rotateAll(ctx), s.initAll(ctx), s.growAll(ctx))
}

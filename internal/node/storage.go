package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"syncline"
	inboxpostgres "syncline/internal/inbox/postgres"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/sealed"
	"syncline/internal/store/sqlite"
)

// open opens the stores, and makes what has to be in them.
func (n *node) open(ctx context.Context, out io.Writer) error {
	if n.cfg.DatabaseURL != "" {
		return n.openPostgres(ctx, out)
	}
	return n.openEmbedded(ctx, out)
}

// openEmbedded opens the databases in the data directory, and frees what an
// earlier process held.
func (n *node) openEmbedded(ctx context.Context, out io.Writer) (err error) {
	n.peers = alone{}
	if err := n.openSealer(); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, filepath.Join(n.cfg.DataDir, "syncline.db"), sqlite.Options{Logger: n.log, Clock: n.clock})
	if err != nil {
		return err
	}
	n.store = s
	box, err := inboxsqlite.Open(ctx, filepath.Join(n.cfg.DataDir, "inbox.db"), inboxsqlite.Options{
		MaxBytes: int64(n.cfg.InboxMaxBytes), MinFreeDisk: int64(n.cfg.InboxMinFreeDisk), Logger: n.log, Clock: n.clock,
	})
	if err != nil {
		return err
	}
	n.inbox = box
	// The data directory is locked: whoever held a lease is gone.
	if err := n.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.ReleaseLeases() }); err != nil {
		return err
	}
	return ensureEnvironments(ctx, n.store, n.sealer, n.cfg, n.clock.Now(), out)
}

// openPostgres opens the database, which other processes may have open too. What
// is made in an empty one, one of them makes.
func (n *node) openPostgres(ctx context.Context, out io.Writer) error {
	dsn := string(n.cfg.DatabaseURL)
	s, err := postgres.Open(ctx, dsn, postgres.Options{Logger: n.log, Clock: n.clock})
	if err != nil {
		return err
	}
	n.store = s
	joined, err := s.Join(ctx, n.owner, n.woken)
	if err != nil {
		return err
	}
	n.peers = joined
	// The main store's tables are there: those of the inbox go beside them.
	box, err := inboxpostgres.Open(ctx, dsn, inboxpostgres.Options{MaxBytes: int64(n.cfg.InboxMaxBytes), Logger: n.log, Clock: n.clock})
	if err != nil {
		return err
	}
	n.inbox = told{box, n}
	if n.cfg.DatabaseReadURL != "" {
		replica, err := postgres.OpenReadOnly(ctx, string(n.cfg.DatabaseReadURL), postgres.Options{Logger: n.log, Clock: n.clock})
		if err != nil {
			return err
		}
		n.replica = replica
	}
	return n.peers.Alone(ctx, "start", func(ctx context.Context) error {
		if err := n.openSharedSealer(ctx); err != nil {
			return err
		}
		return ensureEnvironments(ctx, n.store, n.sealer, n.cfg, n.clock.Now(), out)
	})
}

func (n *node) openSealer() (err error) {
	if n.sealer, err = secret.LoadOrCreate(n.cfg.DataDir, string(n.cfg.EncryptionKey)); err != nil {
		return err
	}
	for _, w := range n.sealer.Warnings() {
		n.log.Warn("the encryption key", "reason", w)
	}
	return nil
}

// openSharedSealer refuses to seal with a key that opens nothing of what others
// have sealed in the database.
func (n *node) openSharedSealer(ctx context.Context) error {
	var environments []syncline.Environment
	err := n.store.View(ctx, func(r store.Reader) (err error) {
		environments, err = r.Environments()
		return err
	})
	if err != nil {
		return err
	}
	var sealedWith []string
	for _, e := range environments {
		if !e.SigningKey.IsZero() {
			sealedWith = append(sealedWith, e.SigningKey.KeyID)
		}
	}
	if n.cfg.EncryptionKey == "" && len(sealedWith) > 0 {
		if _, err := os.Stat(filepath.Join(n.cfg.DataDir, secret.KeyFile)); errors.Is(err, fs.ErrNotExist) {
			return foreignKey(sealedWith[0])
		}
	}
	if err := n.openSealer(); err != nil {
		return err
	}
	for _, id := range sealedWith {
		if !slices.Contains(n.sealer.KeyIDs(), id) {
			return foreignKey(id)
		}
	}
	if n.cfg.EncryptionKey == "" {
		n.log.Warn("the encryption key is only in this server's data directory; other servers on this database, and this one without that directory, need it",
			"file", filepath.Join(n.cfg.DataDir, secret.KeyFile), "variable", secret.EnvVar)
	}
	return nil
}

func foreignKey(id string) error {
	return syncline.Errorf(syncline.CodeConflict, "the secrets in the database were sealed with the encryption key %q, which this server does not have", id).
		WithHint("set %s to the key of the other servers; one that was started without that variable keeps it in the file %s of its data directory", secret.EnvVar, secret.KeyFile)
}

// seal puts the sealing of payloads over the stores. It is there also when it is
// off: what was sealed before can still be opened.
func (n *node) seal() {
	payloads := n.sealer.Bound(secret.PurposeRecordPayload)
	n.sealed = sealed.New(n.store, payloads, n.cfg.SealRecords)
	n.store = n.sealed
	if n.replica != nil {
		n.replica = sealed.New(n.replica, payloads, n.cfg.SealRecords)
	}
}

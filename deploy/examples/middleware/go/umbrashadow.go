// Package umbrashadow knows requests that Umbra replays, and keeps what they write out
// of the database. Copy this file into your service; it needs the standard library only.
//
//	handler = umbrashadow.Middleware(handler, umbrashadow.Options{Token: token})
//	err := umbrashadow.InTx(r.Context(), db, func(tx *sql.Tx) error { … })
//	client := &http.Client{Transport: umbrashadow.Transport{}}
//
// It leaves to you what no rollback reaches: mail, files, queues, caches, payments.
package umbrashadow

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	suffix = "-shadow"
	token  = "X-Shadow-Token"
)

// Options say which requests a service takes.
type Options struct {
	// Token is a secret that the replayer sends as X-Shadow-Token. Without one, any client
	// that can choose its Host has its writes undone while it is told that all went well.
	Token string
	// Refuse replayed requests: for services that are not ready for them.
	Refuse bool
	// Only replayed requests: for instances that are there for the shadow alone. If a
	// gateway on the way drops both marks, nothing is taken for production's request.
	Only bool
}

// What is handed on of a replayed request.
type mark struct{ via, token string }

type key struct{}

// Middleware marks the context of replayed requests.
func Middleware(next http.Handler, options Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, byHost := unmarked(r.Host)
		via := strings.Join(r.Header.Values("Via"), ", ")
		// One of the two is enough: a gateway may rewrite Host, or drop Via.
		shadow := byHost || namesUmbra(via)
		sent := []byte(r.Header.Get(token))
		switch {
		case shadow && options.Refuse:
			http.Error(w, "replayed requests are not taken here", http.StatusForbidden)
			return
		case shadow && options.Token != "" && subtle.ConstantTimeCompare(sent, []byte(options.Token)) == 0:
			http.Error(w, "a replayed request without the right token", http.StatusForbidden)
			return
		case !shadow && options.Only:
			http.Error(w, "only replayed requests are taken here", http.StatusForbidden)
			return
		}
		if shadow {
			r = r.WithContext(context.WithValue(r.Context(), key{}, mark{via, options.Token}))
			if byHost {
				// The service sees the name it has in production. WithContext made a copy.
				r.Host = host
			}
		}
		next.ServeHTTP(w, r)
	})
}

// IsShadow says whether this is the context of a replayed request.
func IsShadow(ctx context.Context) bool {
	_, ok := ctx.Value(key{}).(mark)
	return ok
}

// Longest times for a replayed request. It waits less for what production has locked than
// PostgreSQL's deadlock_timeout, 1 s, so that of two that wait for each other it is nearly
// always the replayed one that gives up. It is ended when it holds something and does
// nothing, and at the latest after transactionTime.
const (
	lockTimeout      = "500ms"
	statementTimeout = "5s"
	transactionTime  = 10 * time.Second
)

var errUndo = errors.New("undone, as asked")

// InTx runs work in a transaction on PostgreSQL. It is committed, or rolled back if work
// fails. For a replayed request it is rolled back always.
func InTx(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	if !IsShadow(ctx) {
		return inTx(ctx, db, work)
	}
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	err := inTx(ctx, db, func(tx *sql.Tx) error {
		const limits = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
			set_config('idle_in_transaction_session_timeout', $2, true)`
		if _, err := tx.ExecContext(ctx, limits, lockTimeout, statementTimeout); err != nil {
			return err
		}
		if err := work(tx); err != nil {
			return err
		}
		// What a commit would have refused is refused here as well.
		if _, err := tx.ExecContext(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

func inTx(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	// After a commit this does nothing; in all other cases, a panic included, it undoes.
	defer func() { _ = tx.Rollback() }()
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Transport hands the mark on to the services that are called. Only for services that
// know the mark: one that does not would write.
type Transport struct{ Base http.RoundTripper }

// RoundTrip sends the request, marked if its context is.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if of, ok := r.Context().Value(key{}).(mark); ok {
		r = r.Clone(r.Context())
		host := r.Host
		if host == "" {
			host = r.URL.Host
		}
		r.Host = marked(host)
		if !namesUmbra(of.via) {
			of.via = "1.1 umbra-shadow"
		}
		r.Header.Set("Via", of.via)
		if of.token != "" {
			r.Header.Set(token, of.token)
		}
	}
	return base.RoundTrip(r)
}

// [::1]:80 is [::1] and :80: the last colon that is not within brackets.
func splitPort(host string) (string, string) {
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		return host[:at], host[at:]
	}
	return host, ""
}

// shop:80 is shop-shadow:80.
func marked(host string) string {
	name, port := splitPort(host)
	return name + suffix + port
}

// shop-shadow:80 is shop:80, and has the mark.
func unmarked(host string) (string, bool) {
	name, port := splitPort(strings.TrimSpace(host))
	at := len(name) - len(suffix)
	if at <= 0 || !strings.EqualFold(name[at:], suffix) {
		return host, false
	}
	return name[:at] + port, true
}

var (
	quoted  = regexp.MustCompile(`\\.`)
	comment = regexp.MustCompile(`\([^()]*\)`)
)

// Whether umbra-shadow is among the recipients in Via, not in a comment of one.
func namesUmbra(via string) bool {
	via = quoted.ReplaceAllString(via, "")
	for without := comment.ReplaceAllString(via, ""); without != via; {
		via, without = without, comment.ReplaceAllString(without, "")
	}
	for _, each := range strings.Split(via, ",") {
		recipient := strings.Fields(each)
		if len(recipient) > 1 && strings.EqualFold(recipient[1], "umbra-shadow") {
			return true
		}
	}
	return false
}

package certificate

import (
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// followed is something that was read from files, and is read anew when they change. What cannot be read
// leaves in force what was.
type followed[T any] struct {
	files []string
	load  func() (T, error)
	state stamp
	value T
	have  bool
	fault error // of the files as they are now
}

// look reads if the files changed, and reports whether the value did.
func (f *followed[T]) look(of string, log *slog.Logger) (changed bool) {
	now := stampOf(f.files...)
	if f.state != nil && now.same(f.state) {
		return false
	}
	first := f.state == nil
	f.state = now
	value, err := f.load()
	if f.fault = err; err != nil {
		if !first {
			log.Error("certificate file is not taken, what was read before stays in force", "of", of, "error", err)
		}
		return false
	}
	if f.value, f.have = value, true; !first {
		log.Info("certificate file read anew", "of", of, "file", f.files[0])
	}
	return true
}

// followPair does not take a pair that is out of its time in the place of one that is not.
func followPair(files Files) *followed[*Pair] {
	f := &followed[*Pair]{files: []string{files.Cert, files.Key}}
	f.load = func() (*Pair, error) {
		p, err := LoadPair(files)
		if err != nil || !f.have {
			return p, err
		}
		if now := time.Now(); !p.timely(now) && f.value.timely(now) {
			return nil, fault(CodePair, files.Cert, "the new certificate is not valid now: from "+stampText(p.cert.Leaf.NotBefore)+" to "+stampText(p.NotAfter()),
				"have one issued that is, and look at the clock of this machine", nil)
		}
		return p, nil
	}
	return f
}

func followPool(file string) *followed[*x509.CertPool] {
	return &followed[*x509.CertPool]{files: []string{file}, load: func() (*x509.CertPool, error) { return LoadPool(file) }}
}

// alarm says what is wrong with the files; false when nothing is.
func (f *followed[T]) alarm(of string) (mesh.Alarm, bool) {
	if f.fault == nil {
		return mesh.Alarm{}, false
	}
	detail := of + ": " + f.fault.Error() + "; what was read before stays in force"
	if !f.have {
		detail = of + ": " + f.fault.Error()
	}
	return mesh.Alarm{Code: mesh.CodeOf(f.fault), Detail: detail}, true
}

// expiries returns the alarms of pairs' times.
func expiries(of string, now time.Time, pairs ...*Pair) (out []mesh.Alarm) {
	for _, p := range pairs {
		if a, ok := p.Expiry(now); ok {
			a.Detail = of + ": " + a.Detail
			out = append(out, a)
		}
	}
	return out
}

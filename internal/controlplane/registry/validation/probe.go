package validation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func containerProbes(at *field.Path, c *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}, {"startupProbe", c.StartupProbe}} {
		if p.probe == nil {
			continue
		}
		at := at.Child(p.name)
		errs = append(errs, probe(at, p.probe)...)
		switch {
		case p.name != "readinessProbe" && p.probe.SuccessThreshold != 1:
			// A container that failed these is killed: there is no way back that could be counted.
			errs = append(errs, field.Invalid(at.Child("successThreshold"), p.probe.SuccessThreshold, "must be 1"))
		case p.name == "readinessProbe" && p.probe.TerminationGracePeriodSeconds != nil:
			errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *p.probe.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
		}
	}
	return errs
}

func probe(at *field.Path, p *corev1.Probe) field.ErrorList {
	errs := handler(at, []action{
		{"exec", p.Exec != nil, func(at *field.Path) field.ErrorList { return execAction(at, p.Exec) }},
		{"httpGet", p.HTTPGet != nil, func(at *field.Path) field.ErrorList { return httpGetAction(at, p.HTTPGet) }},
		{"tcpSocket", p.TCPSocket != nil, func(at *field.Path) field.ErrorList { return portOrName(at.Child("port"), p.TCPSocket.Port) }},
		{"grpc", p.GRPC != nil, func(at *field.Path) field.ErrorList { return grpcAction(at, p.GRPC) }},
	})
	errs = append(errs, nonNegative(at.Child("initialDelaySeconds"), p.InitialDelaySeconds)...)
	errs = append(errs, nonNegative(at.Child("timeoutSeconds"), p.TimeoutSeconds)...)
	errs = append(errs, nonNegative(at.Child("periodSeconds"), p.PeriodSeconds)...)
	errs = append(errs, nonNegative(at.Child("successThreshold"), p.SuccessThreshold)...)
	errs = append(errs, nonNegative(at.Child("failureThreshold"), p.FailureThreshold)...)
	if p.TerminationGracePeriodSeconds != nil && *p.TerminationGracePeriodSeconds <= 0 {
		errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must be greater than 0"))
	}
	return errs
}

func lifecycle(at *field.Path, l *corev1.Lifecycle, in podContext) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	for _, hook := range []struct {
		name    string
		handler *corev1.LifecycleHandler
	}{{"postStart", l.PostStart}, {"preStop", l.PreStop}} {
		h := hook.handler
		if h == nil {
			continue
		}
		errs = append(errs, handler(at.Child(hook.name), []action{
			{"exec", h.Exec != nil, func(at *field.Path) field.ErrorList { return execAction(at, h.Exec) }},
			{"httpGet", h.HTTPGet != nil, func(at *field.Path) field.ErrorList { return httpGetAction(at, h.HTTPGet) }},
			{"tcpSocket", h.TCPSocket != nil, func(at *field.Path) field.ErrorList { return portOrName(at.Child("port"), h.TCPSocket.Port) }},
			{"sleep", h.Sleep != nil, func(at *field.Path) field.ErrorList {
				return sleepAction(at, h.Sleep, in.spec.TerminationGracePeriodSeconds)
			}},
		})...)
	}
	if l.StopSignal != nil {
		errs = append(errs, stopSignal(at.Child("stopSignal"), *l.StopSignal, in.spec.OS)...)
	}
	return errs
}

// action is one of the ways in which a probe or hook can act.
type action struct {
	name  string
	set   bool
	check func(*field.Path) field.ErrorList
}

// handler wants exactly one action; the first that is set is the one that is meant.
func handler(at *field.Path, actions []action) field.ErrorList {
	var errs field.ErrorList
	found := false
	for _, a := range actions {
		switch {
		case !a.set:
		case found:
			errs = append(errs, field.Forbidden(at.Child(a.name), "may not specify more than 1 handler type"))
		default:
			found = true
			errs = append(errs, a.check(at.Child(a.name))...)
		}
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a handler type"))
	}
	return errs
}

func execAction(at *field.Path, exec *corev1.ExecAction) field.ErrorList {
	if len(exec.Command) == 0 {
		return field.ErrorList{field.Required(at.Child("command"), "")}
	}
	return nil
}

func httpGetAction(at *field.Path, get *corev1.HTTPGetAction) field.ErrorList {
	errs := required(at.Child("path"), get.Path)
	errs = append(errs, portOrName(at.Child("port"), get.Port)...)
	errs = append(errs, oneOf(at.Child("scheme"), get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range get.HTTPHeaders {
		errs = append(errs, invalid(at.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return append(errs, optionalOneOf(at.Child("protocol"), get.Protocol, corev1.HTTPProtocolHTTP1, corev1.HTTPProtocolHTTP2)...)
}

func grpcAction(at *field.Path, grpc *corev1.GRPCAction) field.ErrorList {
	errs := portNumber(at.Child("port"), grpc.Port)
	return append(errs, optionalOneOf(at.Child("mode"), grpc.Mode, corev1.GRPCProbeModePlaintext, corev1.GRPCProbeModeTLS)...)
}

// sleepAction wants the sleep to end before the Pod's time to stop does.
func sleepAction(at *field.Path, sleep *corev1.SleepAction, grace *int64) field.ErrorList {
	if grace == nil {
		return nil
	}
	if sleep.Seconds < 0 || sleep.Seconds > *grace {
		return field.ErrorList{field.Invalid(at, sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))}
	}
	return nil
}

// stopSignal wants a signal of the system that the Pod says it runs on; Windows knows only these two.
func stopSignal(at *field.Path, signal corev1.Signal, os *corev1.PodOS) field.ErrorList {
	if os == nil || os.Name == "" {
		return field.ErrorList{field.Forbidden(at, "may not be set for containers with an empty `spec.os.name`")}
	}
	if os.Name == corev1.Windows {
		return oneOf(at, signal, corev1.SIGKILL, corev1.SIGTERM)
	}
	return oneOf(at, signal, linuxSignals...)
}

// linuxSignals are the names that the API defines; see signal(7).
var linuxSignals = []corev1.Signal{
	corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
	corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
	corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
	corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM,
	corev1.SIGWINCH, corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMINPLUS1, corev1.SIGRTMINPLUS2,
	corev1.SIGRTMINPLUS3, corev1.SIGRTMINPLUS4, corev1.SIGRTMINPLUS5, corev1.SIGRTMINPLUS6, corev1.SIGRTMINPLUS7,
	corev1.SIGRTMINPLUS8, corev1.SIGRTMINPLUS9, corev1.SIGRTMINPLUS10, corev1.SIGRTMINPLUS11, corev1.SIGRTMINPLUS12,
	corev1.SIGRTMINPLUS13, corev1.SIGRTMINPLUS14, corev1.SIGRTMINPLUS15, corev1.SIGRTMAXMINUS14, corev1.SIGRTMAXMINUS13,
	corev1.SIGRTMAXMINUS12, corev1.SIGRTMAXMINUS11, corev1.SIGRTMAXMINUS10, corev1.SIGRTMAXMINUS9, corev1.SIGRTMAXMINUS8,
	corev1.SIGRTMAXMINUS7, corev1.SIGRTMAXMINUS6, corev1.SIGRTMAXMINUS5, corev1.SIGRTMAXMINUS4, corev1.SIGRTMAXMINUS3,
	corev1.SIGRTMAXMINUS2, corev1.SIGRTMAXMINUS1, corev1.SIGRTMAX,
}

package validation

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// maxCronJobName leaves room for the eleven characters that a Job's name adds.
const maxCronJobName = 52

// CronJob says what may be created.
func CronJob(obj *batchv1.CronJob) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, cronJobSpec(&obj.Spec, nil)...)
	if len(obj.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(metadataPath.Child("name"), obj.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName)))
	}
	return errs
}

// CronJobUpdate says what a CronJob may be replaced with.
func CronJobUpdate(obj, old *batchv1.CronJob) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), cronJobSpec(&obj.Spec, &old.Spec)...)
}

// CronJobStatusUpdate says what the CronJob controller may report.
func CronJobStatusUpdate(obj, old *batchv1.CronJob) field.ErrorList {
	return metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
}

func cronJobSpec(spec, old *batchv1.CronJobSpec) field.ErrorList {
	errs := cronSchedule(specPath.Child("schedule"), spec, old)
	errs = append(errs, optionalNonNegative(specPath.Child("startingDeadlineSeconds"), spec.StartingDeadlineSeconds)...)
	// A zone that has left the data base since must not stop other changes.
	if old == nil || !ptr.Equal(old.TimeZone, spec.TimeZone) {
		errs = append(errs, timeZone(specPath.Child("timeZone"), spec.TimeZone)...)
	}
	errs = append(errs, requiredOneOf(specPath.Child("concurrencyPolicy"), spec.ConcurrencyPolicy,
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	at := specPath.Child("jobTemplate", "spec")
	errs = append(errs, jobSpec(at, &spec.JobTemplate.Spec)...)
	if spec.JobTemplate.Spec.Selector != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), spec.JobTemplate.Spec.Selector, "`selector` will be auto-generated"))
	}
	if isTrue(spec.JobTemplate.Spec.ManualSelector) {
		errs = append(errs, field.NotSupported(at.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	errs = append(errs, optionalNonNegative(specPath.Child("successfulJobsHistoryLimit"), spec.SuccessfulJobsHistoryLimit)...)
	return append(errs, optionalNonNegative(specPath.Child("failedJobsHistoryLimit"), spec.FailedJobsHistoryLimit)...)
}

func cronSchedule(at *field.Path, spec, old *batchv1.CronJobSpec) field.ErrorList {
	if spec.Schedule == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if err := parseSchedule(spec.Schedule); err != nil {
		errs = append(errs, field.Invalid(at, spec.Schedule, err.Error()))
	}
	// Zones in schedules were never documented; those that are stored go on.
	zoned := strings.Contains(spec.Schedule, "TZ")
	kept := old != nil && strings.Contains(old.Schedule, "TZ")
	switch {
	case zoned && !kept:
		errs = append(errs, field.Invalid(at, spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	case zoned && spec.TimeZone != nil:
		errs = append(errs, field.Invalid(at, spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	return errs
}

// parseSchedule answers with an error for schedules at which the parser panics, such as "TZ=".
func parseSchedule(schedule string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(schedule)
	return err
}

// zonePart is a part of a zone's name, as the time zone data base makes them: names become file names.
var zonePart = regexp.MustCompile(`^[A-Za-z0-9._+][A-Za-z0-9._+-]{0,13}$`)

func timeZone(at *field.Path, zone *string) field.ErrorList {
	if zone == nil {
		return nil
	}
	if *zone == "" {
		return field.ErrorList{field.Invalid(at, *zone, "timeZone must be nil or non-empty string")}
	}
	for _, part := range strings.Split(*zone, "/") {
		if part == "." || part == ".." || !zonePart.MatchString(part) {
			return field.ErrorList{field.Invalid(at, *zone, "unknown time zone "+*zone)}
		}
	}
	if strings.EqualFold(*zone, "Local") {
		return field.ErrorList{field.Invalid(at, *zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	if _, err := time.LoadLocation(*zone); err != nil {
		return field.ErrorList{field.Invalid(at, *zone, err.Error())}
	}
	return nil
}

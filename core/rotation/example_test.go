package rotation_test

import (
	"fmt"
	"time"

	"github.com/hyperiondb/hyperion-vault/core/rotation"
)

// A rotation at half past four on each first day of a month.
func ExampleSchedule_Next() {
	schedule, err := rotation.Parse("30 4 1 * *")
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, time.January, 15, 12, 0, 0, 0, time.UTC)
	for range 2 {
		at = schedule.Next(at)
		fmt.Println(at.Format(time.DateTime))
	}
	// Output:
	// 2026-02-01 04:30:00
	// 2026-03-01 04:30:00
}

package storage

// alarmName is the file that keeps the alarm of lost data over restarts.
const alarmName = "ALARM"

// Alarm returns the alarm that the directory keeps, "" if none. Whoever has mended what it tells of removes
// the file ALARM.
// Errors: ErrDamaged, ErrForeignDir, ErrNewerFormat.
func (d *Dir) Alarm() (string, error) {
	name := d.file(alarmName)
	raw, err := readOwn(d.fs, name)
	if isNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	id, body, err := decodeHeader(name, raw, alarmMagic)
	if err != nil {
		return "", err
	}
	return string(body), d.belongs(name, id)
}

// SetAlarm keeps an alarm durably. What is longer than a header may hold is cut.
func (d *Dir) SetAlarm(text string) error {
	body := []byte(text)
	return writeAtomic(d.fs, d.file(alarmName), appendHeader(nil, alarmMagic, d.id, body[:min(len(body), maxBodySize)]))
}

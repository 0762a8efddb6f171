days = { $count ->
    [one] { $count } Tag
   *[other] { $count } Tage
}
hours = { $count ->
    [one] { $count } Stunde
   *[other] { $count } Stunden
}
minutes = { $count ->
    [one] { $count } Minute
   *[other] { $count } Minuten
}
seconds = { $count ->
    [one] { $count } Sekunde
   *[other] { $count } Sekunden
}
no-time = keine
no-limit = unbegrenzt
planned = { $limit } (angekündigt, gilt noch nicht)
wished = { $limit } (wie von Ihnen eingestellt)
paused = Das Löschen ist zurzeit angehalten. Was fällig ist, verschwindet, sobald es weitergeht.
dry-run = Zurzeit wird nichts gelöscht: Dies ist nur ein Probelauf.

command-list = Was von Nachrichten aufbewahrt wird
policy-name = Wie lange Nachrichten hier aufbewahrt werden
policy-intro = Nachrichten, die verschwinden sollen, werden auch im Archiv von { $host } gelöscht. Für Sie gilt:
policy-timer-min = Kürzester Timer
policy-timer-max = Längster Timer
policy-start = Der Timer einer Nachricht an Sie beginnt
start-archived = sobald der Server die Nachricht archiviert
start-delivered = sobald Sie die Nachricht erhalten haben
start-read = sobald Sie die Nachricht gelesen haben
start-auto = sobald Sie die Nachricht gelesen haben; oder sobald Sie sie erhalten haben, falls Ihre Apps dem Server nicht mitteilen, was Sie lesen
policy-sent = Der Timer einer Nachricht, die Sie senden, beginnt in Ihrem eigenen Archiv, sobald der Server sie archiviert.
policy-unread-for = Längste Wartezeit auf das Lesen einer Nachricht, bevor ihr Timer beginnt
policy-once-for = Zeit, die eine Nachricht zum einmaligen Lesen danach bleibt
policy-hint = Zeit, die eine Nachricht bleibt, wenn der Absender sie nicht gespeichert haben wollte
policy-negotiation = Zeit, die eine Nachricht bleibt, die nur einen Timer vereinbart
policy-rooms-start = In Chaträumen beginnen Timer
rooms-archived = sobald der Server die Nachricht archiviert
rooms-first-reader = sobald jemand anderes als der Absender die Nachricht gelesen hat
rooms-everyone = sobald alle Mitglieder des Raums die Nachricht gelesen haben
policy-archive-for = Längste Zeit in Ihrem Archiv, unabhängig vom Absender
policy-queue-for = Längste Zeit, solange eine Nachricht auf Ihre Anmeldung wartet
policy-rooms-for = Längste Zeit in Chaträumen, falls für einen Raum nichts anderes gilt
policy-placeholder = Zeit, die ein leerer Eintrag ohne den Text bleibt
policy-cannot = Der Server kann nicht löschen, was auf den Geräten der Empfänger oder in seinen Sicherungskopien liegt, und er sieht keinen Timer, der in einer verschlüsselten Nachricht steht.

kept-name = Was von mir aufbewahrt wird
kept-choose = Über welche Ihrer Nachrichten möchten Sie etwas erfahren?
kept-which = Nachrichten
kept-archive = In Ihrem Archiv
kept-queue = Warten auf Ihre Anmeldung
kept-both = Beides
kept-summary = { $count ->
    [0] Keine Nachricht wird verschwinden.
    [one] { $count } Nachricht wird verschwinden.
   *[other] { $count } Nachrichten werden verschwinden.
}
kept-many = Mehr als { $count ->
    [one] { $count } Nachricht ist
   *[other] { $count } Nachrichten sind
} hier verzeichnet: zu viele, um alle anzusehen.
kept-going = Werden verschwinden
kept-timer = Weil der Absender einen Timer gesetzt hat
kept-hint = Weil der Absender sie nicht gespeichert haben wollte
kept-negotiation = Weil sie nur einen Timer vereinbaren
kept-age = Wegen ihres Alters
kept-oldest = Die älteste stammt vom
kept-next = Die nächste verschwindet frühestens
kept-wish = Auf wessen Wunsch
wish-timer = der Absender hat einen Timer gesetzt
wish-hint = der Absender wollte sie nicht gespeichert haben
wish-negotiation = sie vereinbart nur einen Timer
wish-age = der Server bewahrt keine Nachricht länger auf
wish-own = Sie wollen keine Nachricht länger aufbewahrt haben
kept-unread = Warten darauf, dass Sie sie lesen
kept-undelivered = Warten darauf, dass Sie sie erhalten
kept-backlog = Ältere Nachrichten, die vorerst bleiben
kept-emptied = Leere Einträge, deren Text gelöscht ist
kept-rest = Längste Zeit für alle anderen Nachrichten
kept-chats = Chats, für die Sie etwas Eigenes eingestellt haben
kept-note = Die Zeiten sind die frühestmöglichen: Eine Nachricht kann länger bleiben.

erase-name = Meine Nachrichten löschen
erase-choose = Welche Ihrer Nachrichten sollen hier gelöscht werden? Wenn Sie beide Felder leer lassen: alle. Schreiben Sie einen Tag so: 2026-11-01.
erase-with = Nur der Chat mit dieser Adresse
erase-before = Nur von vor diesem Tag (UTC)
erase-all = Alle Ihre Nachrichten hier: in Ihrem Archiv und solche, die auf Ihre Anmeldung warten.
erase-count = Betroffene Nachrichten
erase-many = { $count } oder mehr
erase-forever = Das lässt sich nicht rückgängig machen. Was auf Ihren Geräten ist, bleibt, Ihre Kontakte behalten ihre eigenen Kopien, und spätere Nachrichten bleiben.
erase-type = Um diese Nachrichten zu löschen, geben Sie Ihre eigene Adresse ein: { $address }
erase-confirm = Ihre Adresse
erase-again = Das war nicht Ihre Adresse. Es wurde nichts gelöscht.
erase-soon = Ihr Auftrag ist vermerkt. Die Nachrichten verschwinden bald; manche können länger bleiben.
erase-none = Es gibt nichts zu löschen.

configure-name = Wie lange meine Nachrichten aufbewahrt werden
contact-name = Wie lange Nachrichten mit einem Kontakt aufbewahrt werden
contact-choose = Für den Chat mit wem möchten Sie etwas einstellen?
contact-with = Adresse Ihres Kontakts
wished-choose = Das betrifft nur Ihr eigenes Archiv hier. Ihre Geräte und Ihre Kontakte behalten ihre eigenen Kopien, und wenn der Server Nachrichten kürzer aufbewahrt, gilt das.
wished-longest = Längste Zeit nach den Regeln des Servers
wished-in-all = Längste Zeit, die Sie für alle Chats eingestellt haben
wished-fixed = Der Server bewahrt Nachrichten kürzer auf, als Sie einstellen könnten.
wished-archive-for = Längste Zeit in Ihrem Archiv
wished-encrypted-for = Timer verschlüsselter Nachrichten, die keinen zeigen
wished-once = Nachrichten mit Timer verschwinden bald, nachdem Sie sie gelesen haben
wished-once-fixed = Der Server achtet nicht darauf, was Sie gelesen haben: Nachrichten mit Timer verschwinden, wenn er abgelaufen ist.
wished-confirm = Das ist die Folge. Schließen Sie ab, um es einzustellen.
wished-type = Das ist die Folge. Um es einzustellen, geben Sie Ihre eigene Adresse ein: { $address }
wished-again = Das war nicht Ihre Adresse. Es wurde nichts eingestellt.
wished-count = Nachrichten, die sofort verschwinden
wished-first = Die erste verschwindet frühestens
wished-once-for = Zeit, die Nachrichten mit Timer bleiben, nachdem Sie sie gelesen haben
wished-since = Das gilt für Nachrichten, die kommen, nachdem es eingestellt wurde. Für solche, die Sie senden, beginnt die Zeit beim Senden.
wished-once-off = Nachrichten mit Timer verschwinden, wenn er abgelaufen ist.
wished-forever = Was verschwunden ist, lässt sich nicht zurückholen, und spätere Nachrichten verschwinden ebenso.
wished-set = Das ist eingestellt. Manche Nachrichten können länger bleiben.

error-foreign = Diese Befehle sind nur für Benutzer dieses Servers.
error-limited = Sie haben zu oft gefragt. Bitte warten Sie eine Minute.
error-busy = Zurzeit wird zu viel gefragt. Bitte versuchen Sie es gleich noch einmal.
error-failed = Das lässt sich zurzeit nicht nachsehen. Bitte versuchen Sie es später noch einmal.
error-session = Dieser Vorgang ist beendet oder hat nie begonnen. Bitte beginnen Sie neu.
error-expired = Ihre Antwort kam zu spät. Bitte beginnen Sie neu.
error-action = Das ist an dieser Stelle nicht möglich.
error-payload = Diese Antwort passt nicht zur Frage.

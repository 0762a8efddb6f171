days = { $count ->
    [one] { $count } día
   *[other] { $count } días
}
hours = { $count ->
    [one] { $count } hora
   *[other] { $count } horas
}
minutes = { $count ->
    [one] { $count } minuto
   *[other] { $count } minutos
}
seconds = { $count ->
    [one] { $count } segundo
   *[other] { $count } segundos
}
no-time = ninguno
no-limit = sin límite
planned = { $limit } (anunciado, aún no en vigor)
wished = { $limit } (según lo ha ajustado usted)
paused = El borrado está en pausa por ahora. Lo que ya ha vencido desaparecerá cuando se reanude.
dry-run = Por ahora no se borra nada: es solo una prueba.

command-list = Qué se conserva de los mensajes
policy-name = Cuánto tiempo se conservan aquí los mensajes
policy-intro = Los mensajes que deben desaparecer se borran también del archivo de { $host }. Estas son las reglas que se le aplican:
policy-timer-min = Temporizador más corto
policy-timer-max = Temporizador más largo
policy-start = El temporizador de un mensaje que recibe empieza
start-archived = cuando el servidor archiva el mensaje
start-delivered = cuando ha recibido el mensaje
start-read = cuando ha leído el mensaje
start-auto = cuando ha leído el mensaje, o cuando lo ha recibido si sus aplicaciones no indican al servidor lo que lee
policy-sent = El temporizador de un mensaje que envía empieza, en su propio archivo, cuando el servidor lo archiva.
policy-unread-for = Espera máxima a que lea un mensaje, antes de que empiece su temporizador
policy-once-for = Tiempo que queda un mensaje de una sola lectura tras leerlo
policy-hint = Tiempo que permanece un mensaje si el remitente pidió que no se guardara
policy-negotiation = Tiempo que permanece un mensaje que solo acuerda un temporizador
policy-rooms-start = En las salas, los temporizadores empiezan
rooms-archived = cuando el servidor archiva el mensaje
rooms-first-reader = cuando alguien que no es el remitente ha leído el mensaje
rooms-everyone = cuando todos los miembros de la sala han leído el mensaje
policy-archive-for = Tiempo máximo en su archivo, pida lo que pida el remitente
policy-queue-for = Tiempo máximo de espera mientras no se conecta
policy-rooms-for = Tiempo máximo en las salas, salvo que una sala tenga su propia regla
policy-placeholder = Tiempo que permanece una entrada vacía, sin el texto
policy-cannot = El servidor no puede borrar lo que está en los dispositivos de los destinatarios ni en sus copias de seguridad, y no ve un temporizador que esté dentro de un mensaje cifrado.

kept-name = Qué se conserva de mí
kept-choose = ¿Sobre cuáles de sus mensajes desea información?
kept-which = Mensajes
kept-archive = En su archivo
kept-queue = A la espera de que se conecte
kept-both = Ambos
kept-summary = { $count ->
    [0] Ningún mensaje va a desaparecer.
    [one] Va a desaparecer { $count } mensaje.
   *[other] Van a desaparecer { $count } mensajes.
}
kept-many = Hay más de { $count ->
    [one] { $count } mensaje registrado
   *[other] { $count } mensajes registrados
}: demasiados para examinarlos todos.
kept-going = Van a desaparecer
kept-timer = Porque el remitente puso un temporizador
kept-hint = Porque el remitente pidió que no se guardaran
kept-negotiation = Porque solo acuerdan un temporizador
kept-age = Por su antigüedad
kept-oldest = El más antiguo es del
kept-next = El próximo desaparece, como pronto
kept-wish = A petición de quién
wish-timer = el remitente puso un temporizador
wish-hint = el remitente pidió que no se guardara
wish-negotiation = solo acuerda un temporizador
wish-age = el servidor no conserva ningún mensaje más tiempo
wish-own = usted no quiere conservar ningún mensaje más tiempo
kept-unread = Esperan a que los lea
kept-undelivered = Esperan a que los reciba
kept-backlog = Mensajes más antiguos, que se conservan por ahora
kept-emptied = Entradas vacías, cuyo texto se ha borrado
kept-rest = Tiempo máximo para todos los demás mensajes
kept-chats = Chats para los que ha ajustado algo propio
kept-note = Las fechas son las más tempranas posibles: un mensaje puede permanecer más tiempo.

erase-name = Borrar mis mensajes
erase-choose = ¿Cuáles de sus mensajes deben borrarse aquí? Si deja vacíos los dos campos, todos. Escriba un día así: 2026-11-01.
erase-with = Solo el chat con esta dirección
erase-before = Solo los anteriores a este día (UTC)
erase-all = Todos sus mensajes aquí: los de su archivo y los que esperan a que se conecte.
erase-count = Mensajes afectados
erase-many = { $count } o más
erase-forever = Esto no se puede deshacer. Lo que está en sus dispositivos permanece, sus contactos conservan sus propias copias y los mensajes posteriores permanecen.
erase-type = Para borrar estos mensajes, escriba su propia dirección: { $address }
erase-confirm = Su dirección
erase-again = Esa no era su dirección. No se ha borrado nada.
erase-soon = Su solicitud ha quedado registrada. Los mensajes desaparecerán pronto; algunos pueden permanecer más tiempo.
erase-none = No hay nada que borrar.

configure-name = Cuánto tiempo se conservan mis mensajes
contact-name = Cuánto tiempo se conservan los mensajes con un contacto
contact-choose = ¿Para el chat con quién quiere ajustar algo?
contact-with = Dirección de su contacto
wished-choose = Esto solo afecta a su propio archivo aquí. Sus dispositivos y sus contactos conservan sus propias copias y, si el servidor conserva los mensajes menos tiempo, eso es lo que cuenta.
wished-longest = Tiempo máximo según las reglas del servidor
wished-in-all = Tiempo máximo que ha ajustado para todos los chats
wished-fixed = El servidor conserva los mensajes menos tiempo del que usted podría ajustar.
wished-archive-for = Tiempo máximo en su archivo
wished-encrypted-for = Temporizador de los mensajes cifrados que no muestran ninguno
wished-once = Los mensajes con temporizador desaparecen poco después de leerlos
wished-once-fixed = El servidor no mira lo que usted ha leído: los mensajes con temporizador desaparecen cuando este se agota.
wished-confirm = Esto es lo que significa. Termine para ajustarlo.
wished-type = Esto es lo que significa. Para ajustarlo, escriba su propia dirección: { $address }
wished-again = Esa no era su dirección. No se ha ajustado nada.
wished-count = Mensajes que desaparecen enseguida
wished-first = El primero desaparece, como pronto
wished-once-for = Tiempo que quedan los mensajes con temporizador una vez leídos
wished-since = Esto vale para los mensajes que lleguen después de ajustarlo. Para los que usted envía, el tiempo empieza al enviarlos.
wished-once-off = Los mensajes con temporizador desaparecen cuando este se agota.
wished-forever = Lo que ha desaparecido no se puede recuperar, y los mensajes posteriores desaparecen del mismo modo.
wished-set = Está ajustado. Algunos mensajes pueden permanecer más tiempo.

error-foreign = Estos comandos son solo para usuarios de este servidor.
error-limited = Ha hecho demasiadas consultas. Espere un minuto.
error-busy = Hay demasiadas consultas en este momento. Vuelva a intentarlo enseguida.
error-failed = No se puede consultar en este momento. Vuelva a intentarlo más tarde.
error-session = Este diálogo ha terminado o nunca empezó. Empiece de nuevo.
error-expired = Ha tardado demasiado en responder. Empiece de nuevo.
error-action = Eso no es posible en este punto.
error-payload = Esta respuesta no corresponde a la pregunta.
